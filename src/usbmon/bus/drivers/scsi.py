"""A SCSI disk as Linux drives it: commands, and what is asked first.

Here: scanning (drivers/scsi/scsi_scan.c, scsi.c), the disk driver (sd.c), and which answers are
tried again (scsi_error.c). Not here: how a command travels (`storage`, `uas`), and what people do
with a disk (`disk`).
"""

from __future__ import annotations

import struct
from abc import abstractmethod
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from usbmon.bus.driver import Driver, Lock, Steps, UrbFailed
from usbmon.bus.status import EIO, ENOMEDIUM

if TYPE_CHECKING:
    from usbmon.bus.host import Host, HostInterface


# Sense keys.
_ILLEGAL_REQUEST, _UNIT_ATTENTION, _ABORTED = 0x5, 0x6, 0xB
_POWER_ON_OR_RESET: Final = 0x2900

# SD_MAX_RETRIES; the retries of TEST UNIT READY in sd_spinup_disk.
_RETRIES: Final = 5
_READS_AND_WRITES: Final = (0x28, 0x2A, 0x88, 0x8A)
_BLOCK_SIZES: Final = (512, 1024, 2048, 4096)
_SIZE_OF_INQUIRY: Final = 36
_VPD_PAGES: Final = (0x00, 0x80, 0x83, 0x89, 0xB0, 0xB1, 0xB2)
_CONCURRENT_POSITIONING: Final = 0xB9


class Answer(NamedTuple):
    """What came of a command. `status` None: the transport failed, and has recovered. `moved`:
    bytes that went, in either direction."""

    status: int | None
    data: bytes = b""
    sense: bytes = b""
    moved: int = 0

    @property
    def key(self) -> int:
        """The sense key; 0 for none."""
        return self.sense[2] & 0xF if len(self.sense) > 2 else 0

    @property
    def code(self) -> int:
        """ASC and ASCQ."""
        return int.from_bytes(self.sense[12:14], "big")


class CommandFailed(UrbFailed):
    """A SCSI command failed; `answer` says how. `status` is the errno that Linux makes of it."""

    def __init__(self, status: int, what: str, answer: Answer) -> None:
        super().__init__(status, what)
        self.answer = answer


class ScsiDriver(Driver):
    """A driver whose device is a disk: logical unit 0.

    A transport defines `start` and `finish`. `depth` is how many commands it takes at a time,
    `most` how many blocks one of them moves at most. `is_careful`: asks only what the plainest
    devices can answer, as usb-storage has it set.
    """

    depth = 1
    most = 240
    is_careful = True

    def __init__(self, host: Host, interface: HostInterface) -> None:
        super().__init__(host, interface)
        self.inquiry = bytes(_SIZE_OF_INQUIRY)
        self.blocks = 0
        self.block_size = 512
        self.write_protected = False
        self._scanning = Lock()
        self._knows_opcodes = not self.is_careful
        self.number = next(n for n in count() if n not in _numbers(host))

    @property
    def place(self) -> str:
        """As Linux calls it: host, channel, target and unit."""
        return f"{self.number}:0:0:0"

    # The transport.

    @abstractmethod
    def start(self, cdb: bytes, size: int, data: bytes) -> Steps[Any]:
        """Set a command going that reads `size` bytes, or writes `data`; what `finish` takes."""

    @abstractmethod
    def finish(self, request: Any) -> Steps[Answer]:
        """Wait for its end."""

    # Commands.

    @property
    def size(self) -> int:
        """Bytes of the disk; 0 without a medium."""
        return self.blocks * self.block_size

    @property
    def is_removable(self) -> bool:
        return self.inquiry[1] & 0x80 != 0

    @property
    def version(self) -> int:
        """Of SPC, as INQUIRY says."""
        return self.inquiry[2]

    def command(self, cdb: bytes, size: int = 0, data: bytes = b"") -> Steps[bytes]:
        """One command, tried again where Linux does. Raises `CommandFailed` and `UrbFailed`."""
        request = yield from self.begin(cdb, size, data)
        return (yield from self.end(*request))

    def begin(self, cdb: bytes, size: int, data: bytes = b"") -> Steps[Any]:
        """Set a command going; what `end` takes, as its arguments."""
        request = yield from self.start(cdb, size, data)
        return request, cdb, size, data

    def end(self, request: Any, cdb: bytes, size: int, data: bytes) -> Steps[bytes]:
        """Wait for its end, and try it again where Linux does; the data. Raises `CommandFailed`
        and `UrbFailed`."""
        # Of a block, all or nothing (scmd->underflow).
        least = max(size, len(data)) if cdb[0] in _READS_AND_WRITES else 0
        answer: Answer = yield from self.finish(request)
        for _ in range(_RETRIES):
            if not _is_worth_a_try(answer, least):
                break
            if answer.code == _POWER_ON_OR_RESET:
                self.host.report(f"sd {self.place}: Power-on or device reset occurred")
            request = yield from self.start(cdb, size, data)
            answer = yield from self.finish(request)
        if answer.status != 0 or answer.moved < least:
            raise CommandFailed(
                ENOMEDIUM if answer.code >> 8 == 0x3A else EIO,
                f"{self.device.name}: SCSI command {cdb[0]:02x}",
                answer,
            )
        return answer.data

    def scanned(self) -> Steps[None]:
        """Wait until the disk is known. Raises `UrbFailed` without one."""
        yield from self._scanning.acquire()
        self._scanning.release()
        if not self.blocks:
            raise UrbFailed(ENOMEDIUM, f"{self.device.name}: disk")

    # Finding out what it is.

    def scan(self) -> Steps[None]:
        """scsi_scan_target, then sd_probe."""
        inquiry = yield from self.command(_inquiry(_SIZE_OF_INQUIRY), _SIZE_OF_INQUIRY)
        self.inquiry = inquiry.ljust(_SIZE_OF_INQUIRY, b"\0")
        self._report_inquiry()
        if not self.is_careful:
            yield from self._attach_vpd()
            yield from self.command(struct.pack(">B5xI2x", 0xA0, 4096), 4096)
        if self.inquiry[0] & 0x1F == 0:
            yield from self._attach()

    def _report_inquiry(self) -> None:
        words = self.inquiry.decode("ascii", "replace")
        self.host.report(
            f"scsi {self.place}: Direct-Access     {words[8:16]} {words[16:32]} "
            f"{words[32:36]} PQ: 0 ANSI: {self.version}"
        )

    def _attach_vpd(self) -> Steps[None]:
        """scsi_attach_vpd: the page that lists the pages, and those of them that Linux keeps."""
        listed = yield from self._vpd(0)
        for page in listed[4:]:
            if page in _VPD_PAGES:
                yield from self._vpd(page)

    def _vpd(self, page: int) -> Steps[bytes]:
        """scsi_get_vpd_buf: its header says how long it is."""
        if page:
            listed = yield from self.command(_inquiry(36, 0), 36)
            if page not in listed[4:]:
                return b""
        head = yield from self.command(_inquiry(4, page), 4)
        size = 4 + int.from_bytes(head[2:4], "big")
        return (yield from self.command(_inquiry(size, page), size))

    def _attach(self) -> Steps[None]:
        """sd_probe, and the look for partitions that follows."""
        yield from self._revalidate(is_first=True)
        if not self.blocks:
            return
        self._report_size()
        if self.is_removable:
            yield from self.command(bytes(6))
        yield from self._revalidate(is_first=False)
        if self.is_removable:
            yield from self.command(bytes((0x1E, 0, 0, 0, 1, 0)))
        yield from self.command(read_or_write(0x28, 0, 8), 8 * self.block_size)
        if self.is_removable:
            yield from self.command(bytes((0x1E, 0, 0, 0, 0, 0)))
            yield from self.command(bytes(6))
        self._report(f"Attached SCSI {'removable ' if self.is_removable else ''}disk")

    def _revalidate(self, *, is_first: bool) -> Steps[None]:
        """sd_revalidate_disk."""
        try:
            yield from self.command(bytes(6))
        except CommandFailed as failed:
            if failed.status != ENOMEDIUM:
                raise
            self.blocks = 0
            return
        yield from self._read_capacity()
        if not self.blocks:
            return
        yield from self.command(read_or_write(0x28, 0, 1), self.block_size)
        if not (self.is_careful or is_first):
            yield from self._vpd(_CONCURRENT_POSITIONING)
        yield from self._read_modes()
        if self._knows_opcodes:
            yield from self._report_opcodes()

    def _read_capacity(self) -> Steps[None]:
        """READ CAPACITY (10), or (16) where the disk is new enough or large enough."""
        last = 0xFFFF_FFFF
        if self.is_careful or self.version < 5:
            reply = yield from self.command(struct.pack(">B9x", 0x25), 8)
            last, self.block_size = struct.unpack_from(">II", reply.ljust(8, b"\0"))
        if last == 0xFFFF_FFFF:
            reply = yield from self.command(struct.pack(">BB8xI2x", 0x9E, 0x10, 32), 32)
            last, self.block_size = struct.unpack_from(">QI", reply.ljust(12, b"\0"))
        # sd_read_capacity: other sizes of blocks it cannot use.
        self.blocks = last + 1 if self.block_size in _BLOCK_SIZES else 0

    def _read_modes(self) -> Steps[None]:
        """sd_read_write_protect_flag and sd_read_cache_type."""
        if self.is_careful:
            modes = yield from self._mode_sense(0x3F, 192)
            yield from self._mode_sense(0x3F, 192)
        else:
            modes = yield from self._mode_sense(0x3F, 4)
            head = yield from self._mode_sense(0x08, 4)
            if head:
                yield from self._mode_sense(0x08, min(head[0] + 1, 32))
        self.write_protected = len(modes) > 2 and modes[2] & 0x80 != 0

    def _mode_sense(self, page: int, size: int) -> Steps[bytes]:
        """b"" where the disk has no such page."""
        try:
            return (yield from self.command(bytes((0x1A, 0, page, 0, size, 0)), size))
        except CommandFailed as failed:
            if failed.answer.key != _ILLEGAL_REQUEST:
                raise
            return b""

    def _report_opcodes(self) -> Steps[None]:
        """REPORT SUPPORTED OPERATION CODES, for ATA PASS-THROUGH: asked once where it is not
        known (sd_read_write_same)."""
        cdb = bytes.fromhex("a3 0c 01 12 00 00 00 00 00 0a 00 00")
        try:
            yield from self.command(cdb, 10)
        except CommandFailed:
            self._knows_opcodes = False

    def _report_size(self) -> None:
        size = f"({self.size / 1e6:.1f} MB/{self.size / 2**20:.1f} MiB)"
        self._report(f"{self.blocks} {self.block_size}-byte logical blocks: {size}")
        self._report(f"Write Protect is {'on' if self.write_protected else 'off'}")

    def _report(self, line: str) -> None:
        self.host.report(f"sd {self.place}: [sd{chr(ord('a') + self.number % 26)}] {line}")


def _numbers(host: Host) -> set[int]:
    """Of the SCSI hosts that there are."""
    drivers = (driver for device in host.devices() for driver in device.drivers.values())
    return {driver.number for driver in drivers if isinstance(driver, ScsiDriver)}


def _is_worth_a_try(answer: Answer, least: int) -> bool:
    """scsi_decide_disposition and scsi_check_sense."""
    if answer.status == 0:
        return answer.moved < least
    return answer.status is None or answer.key in (_UNIT_ATTENTION, _ABORTED)


def _inquiry(size: int, page: int | None = None) -> bytes:
    return struct.pack(">BBBHB", 0x12, page is not None, page or 0, size, 0)


def read_or_write(opcode: int, lba: int, blocks: int) -> bytes:
    """READ (10) or WRITE (10), by its operation code; (16) beyond what those reach."""
    if lba + blocks > 0xFFFF_FFFF:
        return struct.pack(">BxQI2x", opcode + 0x60, lba, blocks)
    return struct.pack(">BxIxHx", opcode, lba, blocks)
