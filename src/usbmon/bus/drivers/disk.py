"""What people do with a disk: blocks, and files of its FAT file system.

Here: the steps that the drivers of both transports offer. Not here: the commands behind them
(`scsi`), and the file system (`bus.volume`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from usbmon.bus.drivers.scsi import ScsiDriver, read_or_write
from usbmon.bus.volume import Volume

if TYPE_CHECKING:
    from usbmon.bus.driver import Steps


class DiskDriver(ScsiDriver):
    """A disk for use. Large reads and writes are as many commands at a time as the transport
    takes."""

    def read(self, lba: int, count: int) -> Steps[bytes]:
        """`count` blocks. Raises `CommandFailed` and `UrbFailed`."""
        yield from self.scanned()
        parts = []
        requests: deque[Any] = deque()
        for at in range(lba, lba + count, self.most):
            blocks = min(self.most, lba + count - at)
            size = blocks * self.block_size
            if len(requests) == self.depth:
                parts.append((yield from self.end(*requests.popleft())))
            requests.append((yield from self.begin(read_or_write(0x28, at, blocks), size)))
        while requests:
            parts.append((yield from self.end(*requests.popleft())))
        return b"".join(parts)

    def write(self, lba: int, data: bytes) -> Steps[None]:
        """Whole blocks. Raises as `read` does."""
        yield from self.scanned()
        requests: deque[Any] = deque()
        step = self.most * self.block_size
        for at in range(0, len(data), step):
            part = data[at : at + step]
            cdb = read_or_write(0x2A, lba + at // self.block_size, len(part) // self.block_size)
            if len(requests) == self.depth:
                yield from self.end(*requests.popleft())
            requests.append((yield from self.begin(cdb, 0, part)))
        while requests:
            yield from self.end(*requests.popleft())

    def flush(self) -> Steps[None]:
        """What is in the disk's cache goes where it belongs."""
        yield from self.command(bytes((0x35,)) + bytes(9))

    def open(self) -> Steps[None]:
        """As the first that opens the block device (sd_open)."""
        yield from self.scanned()
        yield from self.command(bytes(6))
        if self.is_removable:
            yield from self.command(bytes((0x1E, 0, 0, 0, 1, 0)))

    def close(self) -> Steps[None]:
        """As the last that closes it (sd_release)."""
        if self.is_removable:
            yield from self.command(bytes(6))
            yield from self.command(bytes((0x1E, 0, 0, 0, 0, 0)))

    def eject(self) -> Steps[None]:
        """What ``eject`` does: allow it, stop, take the medium out."""
        yield from self.scanned()
        yield from self.command(bytes((0x1E, 0, 0, 0, 0, 0)))
        yield from self.command(bytes((0x1B, 0, 0, 0, 1, 0)))
        yield from self.command(bytes((0x1B, 0, 0, 0, 2, 0)))
        self.blocks = 0

    def mount(self) -> Steps[Volume]:
        """Open the disk, and its file system. Raises `VolumeError` besides."""
        yield from self.open()
        loop = self.host.loop
        volume: Volume = yield from Volume.mount(self, clock=lambda: loop.epoch + loop.now)
        return volume

    def unmount(self, volume: Volume) -> Steps[None]:
        yield from volume.unmount()
        yield from self.close()

    def copy_in(self, name: str, data: bytes) -> Steps[None]:
        """Put a file onto the disk, in the place of one of that name. Raises as `mount` does."""
        volume = yield from self.mount()
        yield from volume.write(name, data)
        yield from self.unmount(volume)

    def copy_out(self, name: str) -> Steps[bytes]:
        """Get a file from the disk. Raises as `mount` does."""
        volume = yield from self.mount()
        data: bytes = yield from volume.read(name)
        yield from self.unmount(volume)
        return data
