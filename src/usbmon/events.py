"""`Events`: what usbmon saw, as an immutable batch of rows with one payload arena.

Here: the batch, one row of it as an `Event`, and their way to NumPy and Arrow. Not here: how bytes
become events (`usbmon.formats`), or what they mean together (`usbmon.summary`).

Theory: a batch is two buffers. The rows are those of `usbmon.layout`, an array of 104-byte records;
a *column* is a strided NumPy view of one field, so no column costs a copy. The arena holds the
payloads; rows point into it, so slicing and filtering share it. NumPy is imported at the first
column, pyarrow at the first conversion: a program that only streams needs neither.

What a trace does not say is *absent*, not zero: `Events.present` tells by column, an `Event` has
None there, Arrow has null.
"""

from __future__ import annotations

import struct
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, overload

from usbmon import layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_ROW: Final = layout.ROW_SIZE
_STRUCT: Final = struct.Struct("=" + "".join(field.code for field in layout.PACKET + layout.OURS))
_NAMES: Final = tuple(field.name for field in layout.PACKET + layout.OURS)
_ISO: Final = struct.Struct("=ii")
_DESCRIPTOR: Final = struct.Struct("=iIII")
_NO_COMMENTS: Final[Mapping[int, tuple[str, ...]]] = MappingProxyType({})


class Descriptor(NamedTuple):
    """One isochronous packet: its status, and its place and length in the transfer buffer."""

    status: int
    offset: int
    length: int


class Event(NamedTuple):
    """One row. Fields have the kernel's names and values (see `usbmon.layout`), with letters for
    the letters and None for what the trace does not say."""

    id: int
    type: str
    xfer_type: str
    epnum: int
    devnum: int
    busnum: int | None
    flag_setup: str | None
    flag_data: str | None
    status: int
    length: int | None
    len_cap: int | None
    setup: bytes | None
    error_count: int | None
    numdesc: int | None
    interval: int | None
    start_frame: int | None
    xfer_flags: int | None
    ndesc: int | None
    ts: int | None
    clock: str
    urb: int
    usbd_status: int | None
    usbd_function: int | None
    interface: int
    marks: tuple[str, ...]
    descriptors: tuple[Descriptor, ...]
    data: bytes
    comments: tuple[str, ...] = ()

    @property
    def is_in(self) -> bool:
        """True where data goes from the device to the host."""
        return self.epnum & 0x80 != 0

    def __repr__(self) -> str:
        kind = {"iso": "Z", "interrupt": "I", "control": "C", "bulk": "B"}[self.xfer_type]
        bus = "?" if self.busnum is None else self.busnum
        where = f"{kind}{'i' if self.is_in else 'o'}:{bus}:{self.devnum:03}:{self.epnum & 0x7F}"
        when = "?" if self.ts is None else f"{self.ts / 1e9:.6f}"
        parts = [f"{self.type} {where} t={when} urb={self.urb} status={self.status}"]
        parts.append("length=?" if self.length is None else f"length={self.length}")
        if self.setup is not None:
            parts.append(f"setup={self.setup.hex(' ')}")
        if self.descriptors:
            parts.append(f"descriptors={len(self.descriptors)}/{self.numdesc}")
        if self.data:
            shown = self.data[:16].hex(" ", 4)
            parts.append(f"data[{len(self.data)}]={shown}{' …' if len(self.data) > 16 else ''}")
        if self.marks:
            parts.append(",".join(self.marks))
        return f"<Event {' '.join(parts)}>"


class Events:
    """An immutable batch of events: a sequence of `Event`, but not a `Sequence` of Python's, which
    data frame libraries would take apart value by value instead of using Arrow.

    ``events.status``, ``events.ts`` and so on, one for each field of `usbmon.layout.ROW`, are NumPy
    columns (read-only views, no copy; `setup` has shape (n, 8)). ``events[i]`` is an `Event`;
    ``events[a:b]``, ``events[mask]`` and ``events[indexes]`` are `Events` that share the payload.
    `comments` are what people wrote beside single events, by their place in the batch.
    """

    __slots__ = ("__dict__", "_arena", "_length", "_rows", "comments")

    def __init__(
        self,
        rows: memoryview,
        arena: memoryview,
        comments: Mapping[int, tuple[str, ...]] = _NO_COMMENTS,
    ) -> None:
        """`rows`: bytes of whole rows; `arena`: what they point into. Neither is copied."""
        if len(rows) % _ROW:
            raise ValueError(f"rows are {_ROW} bytes each, not {len(rows)} bytes in all")
        self._rows = rows if rows.readonly else rows.toreadonly()
        self._arena = arena if arena.readonly else arena.toreadonly()
        self._length = len(rows) // _ROW
        self.comments = comments

    @classmethod
    def empty(cls) -> Events:
        return cls(memoryview(b""), memoryview(b""))

    @property
    def buffers(self) -> tuple[memoryview, memoryview]:
        """Rows and arena, as the kernel of the package takes them."""
        return self._rows, self._arena

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, key: int) -> Event: ...
    @overload
    def __getitem__(self, key: slice | npt.ArrayLike) -> Events: ...
    def __getitem__(self, key: Any) -> Event | Events:
        if isinstance(key, slice):
            start, stop, step = key.indices(self._length)
            if step == 1:
                rows = self._rows[start * _ROW : max(start, stop) * _ROW]
                return Events(rows, self._arena, self._comments_of(range(start, stop)))
        elif hasattr(key, "__index__") and not hasattr(key, "__len__"):
            return self._event(range(self._length)[key])
        import numpy as np

        # Rows as opaque things: NumPy moves those at three times the speed of rows of bytes.
        picked = np.ascontiguousarray(np.frombuffer(self._rows, f"V{_ROW}")[key]).view(np.uint8)
        comments = _NO_COMMENTS
        if self.comments:
            comments = self._comments_of(np.arange(self._length)[key].tolist())
        return Events(np.ascontiguousarray(picked).reshape(-1).data, self._arena, comments)

    def _comments_of(self, places: Sequence[int]) -> Mapping[int, tuple[str, ...]]:
        """The comments of the rows at these places, which are to be rows 0, 1, 2 and so on."""
        if not self.comments:
            return _NO_COMMENTS
        told = self.comments
        return {new: told[old] for new, old in enumerate(places) if old in told}

    def __iter__(self) -> Iterator[Event]:
        return map(self._event, range(self._length))

    def __eq__(self, other: object) -> bool:
        """Same rows with the same payload, wherever it stands in the arenas, and comments."""
        if not isinstance(other, Events):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def _event(self, index: int) -> Event:
        at = index * _ROW
        row = dict(zip(_NAMES, _STRUCT.unpack_from(self._rows, at), strict=True))
        error_count, numdesc = _ISO.unpack_from(self._rows, at + layout.OFFSET["error_count"])
        iso = row["xfer_type"] == layout.ISO_XFER
        absent = row["absent"]

        def said(name: str, value: Any) -> Any:
            return None if absent & layout.ABSENT_BIT[name] else value

        start = row["data_at"]
        data = start + layout.DESCRIPTOR_SIZE * row["ndesc"]
        return Event(
            id=row["id"],
            type=chr(row["type"]),
            xfer_type=layout.XFER_TYPES[row["xfer_type"]],
            epnum=row["epnum"],
            devnum=row["devnum"],
            busnum=said("busnum", row["busnum"]),
            flag_setup=chr(row["flag_setup"]) if row["flag_setup"] else None,
            flag_data=chr(row["flag_data"]) if row["flag_data"] else None,
            status=row["status"],
            length=said("length", row["length"]),
            len_cap=said("len_cap", row["len_cap"]),
            setup=None if row["flag_setup"] else row["setup"],
            error_count=said("error_count", error_count) if iso else None,
            numdesc=said("numdesc", numdesc) if iso else None,
            interval=said("interval", row["interval"]),
            start_frame=said("start_frame", row["start_frame"]),
            xfer_flags=said("xfer_flags", row["xfer_flags"]),
            ndesc=said("ndesc", row["ndesc"]),
            ts=said("ts", row["ts"]),
            clock=layout.CLOCKS[row["clock"]],
            urb=row["urb"],
            usbd_status=said("usbd_status", row["usbd_status"]),
            usbd_function=said("usbd_function", row["usbd_function"]),
            interface=row["interface"],
            marks=tuple(m for bit, m in enumerate(layout.MARKS) if row["marks"] >> bit & 1),
            descriptors=tuple(
                Descriptor(*_DESCRIPTOR.unpack_from(self._arena, at)[:3])
                for at in range(start, data, layout.DESCRIPTOR_SIZE)
            ),
            data=bytes(self._arena[data : start + row["captured"]]),
            comments=self.comments.get(index, ()),
        )

    @property
    def rows(self) -> npt.NDArray[np.void]:
        """All rows as one structured array of `row_dtype`, read-only and not copied."""
        import numpy as np

        cached = self.__dict__.get("rows")
        if cached is None:
            cached = self.__dict__["rows"] = np.frombuffer(self._rows, row_dtype())
        result: npt.NDArray[np.void] = cached
        return result

    def __getattr__(self, name: str) -> npt.NDArray[Any]:
        if name not in layout.OFFSET:
            raise AttributeError(
                f"Events has no column {name!r}; there are {', '.join(layout.OFFSET)}"
            )
        column: npt.NDArray[Any] = self.rows[name]
        return column

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *layout.OFFSET]

    def present(self, name: str) -> npt.NDArray[np.bool_]:
        """Where the trace says what the column `name` is; False where its 0 stands for nothing."""
        import numpy as np

        bit = layout.ABSENT_BIT.get(name, 0)
        if name in ("error_count", "numdesc"):
            return np.asarray((self.absent & bit == 0) & (self.xfer_type == layout.ISO_XFER))
        if name == "setup":
            return np.asarray(self.flag_setup == 0)
        return np.asarray(self.absent & bit == 0)

    def payload(self, index: int) -> memoryview:
        """The bytes of row `index` as captured: isochronous descriptors, then data."""
        at = range(self._length)[index] * _ROW
        (start,) = struct.unpack_from("=Q", self._rows, at + layout.OFFSET["data_at"])
        (size,) = struct.unpack_from("=I", self._rows, at + layout.OFFSET["captured"])
        return self._arena[start : start + size]

    @classmethod
    def concat(cls, batches: Iterable[Events]) -> Events:
        """One batch of several, in order. Parts of one arena go on sharing it."""
        parts = [batch for batch in batches if len(batch)]
        if len(parts) == 1:
            return parts[0]
        rows = bytearray().join(part._rows for part in parts)
        comments = _joined_comments(parts)
        if all(part._arena is parts[0]._arena for part in parts[1:]):
            return cls(memoryview(rows), parts[0]._arena if parts else memoryview(b""), comments)
        import numpy as np

        moved = np.frombuffer(rows, row_dtype())["data_at"]
        at, base = 0, 0
        for part in parts:
            moved[at : at + len(part)] += base
            at += len(part)
            base += len(part._arena)
        arena = bytearray().join(part._arena for part in parts)
        return cls(memoryview(rows), memoryview(arena), comments)

    @property
    def synthetic(self) -> npt.NDArray[np.bool_]:
        """Where an event was not seen on a bus, but stands for what sysfs told of a device."""
        import numpy as np

        return np.asarray(self.marks & layout.SYNTHETIC != 0)

    def commented(self, comments: Mapping[int, tuple[str, ...]]) -> Events:
        """The same events with these comments."""
        return Events(self._rows, self._arena, comments)

    def cut(self, size: int) -> Events:
        """The same events with `size` bytes of data each at most, as a snap length leaves them.

        As where the kernel cuts: `len_cap` is what remains, `length` tells what was moved.
        Isochronous descriptors stay, and so does what synthetic events hold.
        """
        import numpy as np

        most = self.ndesc.astype(np.int64) * layout.DESCRIPTOR_SIZE + size
        longer = (self.captured > most) & ~self.synthetic
        if not longer.any():
            return self
        rows = bytearray(self._rows)
        table = np.frombuffer(rows, row_dtype())
        table["captured"][longer] = most[longer]
        told = longer & self.present("len_cap")
        table["len_cap"][told] = most[told]
        return Events(memoryview(rows), self._arena, self.comments)

    def __repr__(self) -> str:
        if not self._length:
            return "<Events: none>"
        return f"<Events: {self._length}, first {self[0]!r}>"

    def _repr_html_(self) -> str:
        from usbmon._html import table

        return table(self)

    def to_arrow(self) -> pa.Table:
        """A pyarrow table: a column a field, null where absent; `descriptors` (list of structs) and
        `data` (binary) last. Needs pyarrow (``pip install 'usbmon[analytics]'``)."""
        from usbmon import _arrow

        return _arrow.to_arrow(self)

    @classmethod
    def from_arrow(cls, table: Any) -> Events:
        """The events of a table that `to_arrow` made, or of anything with ``__arrow_c_stream__``
        and those columns. Raises `UsbmonError` that names a column that is missing."""
        from usbmon import _arrow

        return _arrow.from_arrow(table)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The Arrow PyCapsule interface: polars, pandas and DuckDB take the batch as it is."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)


def _joined_comments(parts: Iterable[Events]) -> Mapping[int, tuple[str, ...]]:
    joined: dict[int, tuple[str, ...]] = {}
    at = 0
    for part in parts:
        joined |= {at + place: texts for place, texts in part.comments.items()}
        at += len(part)
    return joined or _NO_COMMENTS


@cache
def row_dtype() -> np.dtype[np.void]:
    """The NumPy dtype of a row: `usbmon.layout.ROW`, whose first 64 bytes are the kernel's."""
    import numpy as np

    return np.dtype(
        {
            "names": [field.name for field in layout.ROW],
            "formats": [
                ("u1", 8) if field.code == "8s" else np.dtype("=" + field.code)
                for field in layout.ROW
            ],
            "offsets": [field.offset for field in layout.ROW],
            "itemsize": _ROW,
        }
    )
