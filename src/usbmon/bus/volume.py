"""`Volume`: the files of a FAT file system on a disk, as steps of a driver.

Here: mounting, and listing, reading, writing and deleting files of the root directory, over the
blocks of any disk. Not here: how the file system lies there (`fat`), and folders. In the order in
which Linux writes: the data, the directory, the tables.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from usbmon.bus import directory, fat
from usbmon.bus.driver import Steps, UrbFailed
from usbmon.bus.status import EINVAL, EIO, ENOENT, ENOSPC, EROFS

if TYPE_CHECKING:
    from collections.abc import Callable


# Of the boot sector's state: the file system is in use (FAT_STATE_DIRTY, msdos_fs.h).
_STATE: Final = 0x25
_DIRTY: Final = 1


class VolumeError(UrbFailed):
    """The file system is not as it should be, or has no such file, or no room: `status` says."""


class Blocks(Protocol):
    """A disk."""

    block_size: int
    write_protected: bool

    def read(self, lba: int, count: int) -> Steps[bytes]: ...

    def write(self, lba: int, data: bytes) -> Steps[None]: ...


class Volume:
    """A mounted file system. `clock` gives the time in nanoseconds since 1970."""

    def __init__(self, disk: Blocks, where: fat.Layout, clock: Callable[[], int]) -> None:
        self._disk = disk
        self._where = where
        self._clock = clock
        self._boot = bytearray()
        self._table: list[int] = []
        self._packed = b""
        self._root = bytearray()

    @classmethod
    def mount(cls, disk: Blocks, clock: Callable[[], int]) -> Steps[Volume]:
        """Read what it needs to know. Raises `VolumeError`."""
        if disk.block_size != fat.SECTOR:
            raise VolumeError(EINVAL, "a disk whose blocks are not of 512 bytes")
        record = yield from disk.read(0, 1)
        try:
            start = fat.partition(record)
            boot = yield from disk.read(start, 1)
            volume = cls(disk, fat.layout(boot, start), clock)
        except ValueError as error:
            raise VolumeError(EINVAL, str(error)) from error
        yield from volume._load(boot)
        return volume

    def _load(self, boot: bytes) -> Steps[None]:
        where = self._where
        self._boot = bytearray(boot)
        yield from self._mark(_DIRTY)
        self._packed = yield from self._disk.read(where.fat_start, fat.table_size(where))
        self._table = fat.unpack_table(where, self._packed)
        root = yield from self._disk.read(where.root_start, where.root_sectors)
        self._root = bytearray(root)

    def unmount(self) -> Steps[None]:
        yield from self._mark(0)

    def _mark(self, state: int) -> Steps[None]:
        """fat_set_state."""
        if not self._disk.write_protected:
            self._boot[_STATE] = self._boot[_STATE] & ~_DIRTY | state
            yield from self._disk.write(self._where.start, bytes(self._boot))

    @property
    def files(self) -> list[directory.File]:
        """The files and folders of the root directory."""
        return list(directory.files(bytes(self._root)))

    def _find(self, name: str) -> directory.File | None:
        for file in self.files:
            if file.name.lower() == name.lower() and not file.attributes & directory.DIRECTORY:
                return file
        return None

    def read(self, name: str) -> Steps[bytes]:
        """The contents of a file. Raises `VolumeError`."""
        file = self._find(name)
        if file is None:
            raise VolumeError(ENOENT, name)
        parts = []
        size = self._where.cluster * fat.SECTOR
        chain = self._chain(file.cluster)
        if len(chain) * size < file.size:
            raise VolumeError(EIO, f"{name}: the table ends before the file does")
        for first, count in _runs(chain[: -(-file.size // size)]):
            part = yield from self._disk.read(self._where.place(first), count * self._where.cluster)
            parts.append(part)
        return b"".join(parts)[: file.size]

    def _chain(self, cluster: int) -> list[int]:
        """The clusters of a file. Raises `VolumeError` where they run in a circle or astray."""
        chain = []
        seen = bytearray(len(self._table))
        while cluster and cluster < self._where.end:
            if not 2 <= cluster < len(self._table) or seen[cluster]:
                raise VolumeError(EIO, "the table of the file system is damaged")
            seen[cluster] = 1
            chain.append(cluster)
            cluster = self._table[cluster]
        return chain

    def write(self, name: str, data: bytes) -> Steps[None]:
        """Make a file, in the place of one of that name. Raises `VolumeError`."""
        self._check_writable()
        old = self._find(name)
        if old is not None:
            self._forget(old)
        size = self._where.cluster * fat.SECTOR
        try:
            chain = self._allocate(-(-len(data) // size))
            self._enter(name, chain[0] if chain else 0, len(data))
        except VolumeError:
            yield from self._reload()
            raise
        at = 0
        for first, count in _runs(chain):
            part = data[at : at + count * size]
            whole = part.ljust(-(-len(part) // fat.SECTOR) * fat.SECTOR, b"\0")
            yield from self._disk.write(self._where.place(first), whole)
            at += len(part)
        yield from self._save()

    def delete(self, name: str) -> Steps[None]:
        """Raises `VolumeError`."""
        self._check_writable()
        file = self._find(name)
        if file is None:
            raise VolumeError(ENOENT, name)
        self._forget(file)
        yield from self._save()

    def _check_writable(self) -> None:
        if self._disk.write_protected:
            raise VolumeError(EROFS, "the disk")

    def _reload(self) -> Steps[None]:
        """Take back what has not been written."""
        where = self._where
        self._table = fat.unpack_table(where, self._packed)
        self._root[:] = yield from self._disk.read(where.root_start, where.root_sectors)

    def _forget(self, file: directory.File) -> None:
        for cluster in self._chain(file.cluster):
            self._table[cluster] = 0
        for index in range(file.index, file.index + file.count):
            self._root[index * directory.ENTRY] = 0xE5

    def _allocate(self, count: int) -> list[int]:
        """So many clusters, the first free ones, chained."""
        chain: list[int] = []
        for cluster in range(2, len(self._table)):
            if len(chain) == count:
                break
            if self._table[cluster] == 0:
                chain.append(cluster)
        if len(chain) < count:
            raise VolumeError(ENOSPC, "the file system is full")
        for cluster, following in zip(chain, [*chain[1:], self._where.end | 7], strict=False):
            self._table[cluster] = following
        return chain

    def _enter(self, name: str, cluster: int, size: int) -> None:
        """Put it into the root directory."""
        entries = range(0, len(self._root), directory.ENTRY)
        taken = {bytes(self._root[at : at + 11]) for at in entries}
        when = datetime.fromtimestamp(self._clock() // 10**9, UTC)
        try:
            raw = directory.entries(name, cluster, size, when, taken)
        except ValueError as error:
            raise VolumeError(EINVAL, str(error)) from error
        free = 0
        for at in entries:
            free = free + directory.ENTRY if self._root[at] in (0, 0xE5) else 0
            if free == len(raw):
                end = at + directory.ENTRY
                self._root[end - free : end] = raw
                return
        raise VolumeError(ENOSPC, "the root directory is full")

    def _save(self) -> Steps[None]:
        """The root directory, then each table, as far as they have changed."""
        where = self._where
        before = yield from self._disk.read(where.root_start, where.root_sectors)
        yield from self._update(where.root_start, before, bytes(self._root))
        packed = fat.pack_table(where, self._table)
        for number in range(where.fats):
            at = where.fat_start + number * where.fat_sectors
            yield from self._update(at, self._packed, packed)
        self._packed = packed

    def _update(self, lba: int, before: bytes, after: bytes) -> Steps[None]:
        changed = [
            at
            for at in range(0, len(after), fat.SECTOR)
            if before[at : at + fat.SECTOR] != after[at : at + fat.SECTOR]
        ]
        for first, count in _runs([at // fat.SECTOR for at in changed]):
            part = after[first * fat.SECTOR : (first + count) * fat.SECTOR]
            yield from self._disk.write(lba + first, part)


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Numbers that follow one another, as first and count."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][0] + runs[-1][1]:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((number, 1))
    return runs
