"""A disk as SCSI sees it: commands in; data, status and sense out.

Here: the device server of a direct-access device (SPC-4, SBC-3) with one logical unit over an
`Image`, and all that flash keys and disk enclosures are asked. Not here: how commands and data
travel (`storage`, `uas`).

A transport calls `Disk.start` with a CDB and gets a `Job`. If its `sense` is empty, `size` bytes
are to go, to the host where `is_in`; it moves them by `read` or `write`, in pieces of its choosing,
so that no command takes more memory than a piece. `sense` says in the end whether it failed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from usbmon.bus.devices.scsi_job import Job, Sense, sense_data
from usbmon.bus.image import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbmon.bus.image import Image

INQUIRY: Final = 0x12
REQUEST_SENSE: Final = 0x03
REPORT_LUNS: Final = 0xA0
# These do not tell of a unit attention (SAM-5 §5.14).
_NO_ATTENTION: Final = (INQUIRY, REQUEST_SENSE, REPORT_LUNS)

# Length of a CDB by the group of its operation code (SPC-4 §4.2.5.1).
_LENGTHS: Final = (6, 10, 10, 0, 16, 12, 0, 0)


class _Failed(Exception):  # noqa: N818 (what became of the command)
    """CHECK CONDITION with this sense code."""

    def __init__(self, code: Sense) -> None:
        super().__init__(code)
        self.code = code


class Disk:
    """The logical unit. `sense` is of the last command that failed, for REQUEST SENSE."""

    vendor = "usbmon"
    revision = "1.00"

    def __init__(
        self,
        image: Image,
        *,
        product: str,
        serial: str,
        is_removable: bool,
        write_cache: bool = False,
        write_protected: bool = False,
    ) -> None:
        self.image = image
        self.product = product
        self.serial = serial
        self.is_removable = is_removable
        self.write_cache = write_cache
        self.write_protected = write_protected or image.is_read_only
        self.has_medium = True
        self.is_stopped = False
        self.is_locked = False
        self.attention: Sense | None = None
        self.sense = b""
        self.reset()

    @property
    def blocks(self) -> int:
        return self.image.size // BLOCK

    def power_on(self) -> None:
        """It has its medium, and spins."""
        self.has_medium = True
        self.is_stopped = False
        self.reset()

    def reset(self) -> None:
        """SAM-5 §6.3.2: the next command hears of it."""
        self.is_locked = False
        self.sense = b""
        self.attention = Sense.POWER_ON_OR_RESET

    def start(self, cdb: bytes, lun: int = 0) -> Job:
        """Begin a command. Whatever the bytes are, there is a job."""
        try:
            return self._dispatch(cdb, lun)
        except _Failed as failed:
            job = Job(self)
            job.fail(failed.code)
            return job

    def _dispatch(self, cdb: bytes, lun: int) -> Job:
        opcode = cdb[0] if cdb else 0xFF
        if opcode == REQUEST_SENSE:
            return self.request_sense(cdb.ljust(6, b"\0"))
        self.sense = b""
        if lun and opcode != INQUIRY:
            raise _Failed(Sense.LUN_NOT_SUPPORTED)
        if self.attention is not None and opcode not in _NO_ATTENTION:
            code, self.attention = self.attention, None
            raise _Failed(code)
        method = _COMMANDS.get(opcode)
        if method is None:
            raise _Failed(Sense.INVALID_OPERATION_CODE)
        if len(cdb) < _LENGTHS[opcode >> 5]:
            raise _Failed(Sense.INVALID_FIELD_IN_CDB)
        if opcode == INQUIRY:
            return self.inquiry(cdb, lun)
        return method(self, cdb)

    # What it is.

    def request_sense(self, cdb: bytes) -> Job:
        if cdb[1] & 1:  # descriptor format
            raise _Failed(Sense.INVALID_FIELD_IN_CDB)
        sense, self.sense = self.sense, b""
        if not sense and self.attention is not None:
            sense, self.attention = sense_data(self.attention), None
        return Job(self, (sense or sense_data(Sense.NO_SENSE))[: cdb[4]])

    def inquiry(self, cdb: bytes, lun: int = 0) -> Job:
        """SPC-4 §6.6.2, §7.8."""
        size = int.from_bytes(cdb[3:5], "big")
        if cdb[1] & 1:
            page = self._vpd().get(cdb[2])
            if page is None:
                raise _Failed(Sense.INVALID_FIELD_IN_CDB)
            return Job(self, (struct.pack(">BBH", 0, cdb[2], len(page)) + page)[:size])
        if cdb[2]:
            raise _Failed(Sense.INVALID_FIELD_IN_CDB)
        head = bytes((0x7F if lun else 0, self.is_removable << 7, 6, 2, 31, 0, 0, 2))
        words = f"{self.vendor:8.8}{self.product:16.16}{self.revision:4.4}"
        return Job(self, (head + words.encode("ascii", "replace"))[:size])

    def _vpd(self) -> dict[int, bytes]:
        """Vital product data, without their headers."""
        serial = self.serial.encode("ascii", "replace")
        name = f"{self.vendor:8.8}".encode() + serial
        pages = {
            0x80: serial,
            0x83: bytes((2, 1, 0, len(name))) + name,  # a T10 vendor identification
            0xB0: bytes(60),  # no limits
            0xB1: struct.pack(">H58x", 1),  # does not rotate
        }
        return {0x00: bytes((0, *pages)), **pages}

    def report_luns(self, cdb: bytes) -> Job:
        size = int.from_bytes(cdb[6:10], "big")
        if size < 16:
            raise _Failed(Sense.INVALID_FIELD_IN_CDB)
        return Job(self, struct.pack(">IIQ", 8, 0, 0)[:size])

    # MODE SENSE (SPC-4 §6.11, SBC-3 §6.5).

    def mode_sense_6(self, cdb: bytes) -> Job:
        pages = self._mode_pages(cdb)
        reply = bytes((3 + len(pages), 0, self.write_protected << 7, 0)) + pages
        return Job(self, reply[: cdb[4]])

    def mode_sense_10(self, cdb: bytes) -> Job:
        pages = self._mode_pages(cdb)
        reply = struct.pack(">HBB4x", 6 + len(pages), 0, self.write_protected << 7) + pages
        return Job(self, reply[: int.from_bytes(cdb[7:9], "big")])

    def _mode_pages(self, cdb: bytes) -> bytes:
        control, code, subpage = cdb[2] >> 6, cdb[2] & 0x3F, cdb[3]
        if control == 3:
            raise _Failed(Sense.SAVING_NOT_SUPPORTED)
        can_change = control == 1  # which bits a MODE SELECT might change: none
        pages = {
            0x08: bytes((0x08, 18, 0 if can_change else self.write_cache << 2)) + bytes(17),
            0x1C: bytes((0x1C, 10)) + bytes(10),
        }
        if code == 0x3F and subpage in (0, 0xFF):
            return b"".join(pages.values())
        if code not in pages or subpage:
            raise _Failed(Sense.INVALID_FIELD_IN_CDB)
        return pages[code]

    # The medium.

    def _check_ready(self) -> None:
        if not self.has_medium:
            raise _Failed(Sense.MEDIUM_NOT_PRESENT)
        if self.is_stopped:
            raise _Failed(Sense.NOT_READY_STOPPED)

    def test_unit_ready(self, cdb: bytes) -> Job:
        self._check_ready()
        return Job(self)

    def start_stop_unit(self, cdb: bytes) -> Job:
        """SBC-3 §5.25."""
        load, start = cdb[4] >> 1 & 1, cdb[4] & 1
        if load and self.is_removable:
            if not start and self.is_locked:
                raise _Failed(Sense.MEDIUM_REMOVAL_PREVENTED)
            self.has_medium = bool(start)
        self.is_stopped = not start
        return Job(self)

    def prevent_allow(self, cdb: bytes) -> Job:
        if not self.is_removable:
            raise _Failed(Sense.INVALID_OPERATION_CODE)
        self.is_locked = bool(cdb[4] & 1)
        return Job(self)

    def read_capacity_10(self, _cdb: bytes) -> Job:
        self._check_ready()
        return Job(self, struct.pack(">II", min(self.blocks - 1, 0xFFFF_FFFF), BLOCK))

    def service_action_in_16(self, cdb: bytes) -> Job:
        """READ CAPACITY (16) (SBC-3 §5.16)."""
        if cdb[1] & 0x1F != 0x10:
            raise _Failed(Sense.INVALID_FIELD_IN_CDB)
        self._check_ready()
        reply = struct.pack(">QI20x", self.blocks - 1, BLOCK)
        return Job(self, reply[: int.from_bytes(cdb[10:14], "big")])

    def read_format_capacities(self, cdb: bytes) -> Job:
        """MMC-6 §6.24: one descriptor, of a formatted medium or of none."""
        kind = 2 if self.has_medium else 3
        reply = struct.pack(">II", 8, min(self.blocks, 0xFFFF_FFFF))
        reply += bytes((kind,)) + BLOCK.to_bytes(3, "big")
        return Job(self, reply[: int.from_bytes(cdb[7:9], "big")])

    def read(self, cdb: bytes) -> Job:
        offset, size = self._range(cdb)
        return Job(self, offset=offset, size=size)

    def write(self, cdb: bytes) -> Job:
        offset, size = self._range(cdb)
        if self.write_protected:
            raise _Failed(Sense.WRITE_PROTECTED)
        return Job(self, offset=offset, size=size, is_in=False)

    def verify(self, cdb: bytes) -> Job:
        if cdb[1] & 0x06:  # BYTCHK: compare with data that come along
            raise _Failed(Sense.INVALID_FIELD_IN_CDB)
        self._range(cdb)
        return Job(self)

    def synchronize_cache(self, cdb: bytes) -> Job:
        """All that was written is in the image already."""
        self._range(cdb)
        return Job(self)

    def _range(self, cdb: bytes) -> tuple[int, int]:
        """Offset and size in bytes (SPC-4 §4.2.5). There is no protection information, which
        byte 1 might ask for."""
        self._check_ready()
        group = cdb[0] >> 5
        if group == 0:
            lba, count = int.from_bytes(cdb[1:4], "big") & 0x1F_FFFF, cdb[4] or 256
        else:
            lba, count = _RANGES[group].unpack_from(cdb, 2)
            if cdb[1] & 0xE0:
                raise _Failed(Sense.INVALID_FIELD_IN_CDB)
        if lba + count > self.blocks:
            raise _Failed(Sense.LBA_OUT_OF_RANGE)
        return lba * BLOCK, count * BLOCK


# Address and length of a READ and its like, from byte 2 on, by the group of the operation code.
_RANGES: Final = {
    1: struct.Struct(">IxH"),
    2: struct.Struct(">IxH"),
    4: struct.Struct(">QI"),
    5: struct.Struct(">II"),
}

_COMMANDS: Final[dict[int, Callable[[Disk, bytes], Job]]] = {
    0x00: Disk.test_unit_ready,
    INQUIRY: Disk.inquiry,
    0x08: Disk.read,
    0x0A: Disk.write,
    0x1A: Disk.mode_sense_6,
    0x1B: Disk.start_stop_unit,
    0x1E: Disk.prevent_allow,
    0x23: Disk.read_format_capacities,
    0x25: Disk.read_capacity_10,
    0x28: Disk.read,
    0x2A: Disk.write,
    0x2F: Disk.verify,
    0x35: Disk.synchronize_cache,
    0x5A: Disk.mode_sense_10,
    0x88: Disk.read,
    0x8A: Disk.write,
    0x8F: Disk.verify,
    0x91: Disk.synchronize_cache,
    0x9E: Disk.service_action_in_16,
    REPORT_LUNS: Disk.report_luns,
    0xA8: Disk.read,
    0xAA: Disk.write,
}
