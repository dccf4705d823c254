"""`Events` to and from Arrow. Imports pyarrow and NumPy, so it is imported on use.

Columns derive from `usbmon.layout`: integers as they are, letters as strings, `ts` as int64
nanoseconds (no timestamp type: not every engine has one of nanoseconds), null where the trace does
not say. `descriptors` is a list of structs, `data` binary; `data_at`, `captured` and `absent` are
not columns, they follow from the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from usbmon import layout
from usbmon.errors import UsbmonError
from usbmon.events import Events, row_dtype

try:
    import pyarrow as pa
except ImportError:
    raise UsbmonError("Arrow needs the package pyarrow: pip install 'usbmon[analytics]'") from None
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_LETTERS: Final = ("type", "flag_setup", "flag_data")
_NAMED: Final = {"xfer_type": layout.XFER_TYPES, "clock": layout.CLOCKS}
_DERIVED: Final = ("data_at", "captured", "absent")
_ISO_ONLY: Final = ("error_count", "numdesc")
_DESCRIPTOR: Final = np.dtype([(f.name, "=" + f.code) for f in layout.DESCRIPTOR])
_INTEGERS: Final = {
    "B": pa.uint8(),
    "H": pa.uint16(),
    "I": pa.uint32(),
    "i": pa.int32(),
    "Q": pa.uint64(),
    "q": pa.int64(),
}
_PACKET: Final = pa.struct(
    [("status", pa.int32()), ("offset", pa.uint32()), ("length", pa.uint32())]
)


def _type(field: layout.Field) -> pa.DataType:
    if field.name in _LETTERS:
        return pa.string()
    if field.name in _NAMED:
        return pa.dictionary(pa.int8(), pa.string())
    return pa.binary(8) if field.code == "8s" else _INTEGERS[field.code]


SCHEMA: Final = pa.schema(
    [
        pa.field(field.name, _type(field), metadata={"doc": field.doc})
        for field in layout.ROW
        if field.name not in _DERIVED
    ]
    + [pa.field("descriptors", pa.list_(_PACKET)), pa.field("data", pa.binary())]
)


def to_arrow(events: Events) -> pa.Table:
    """A table of `SCHEMA`."""
    columns = [_column(events, field) for field in SCHEMA if field.name in layout.OFFSET]
    columns += [_descriptors(events), _data(events)]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _column(events: Events, field: pa.Field) -> pa.Array:
    values = np.ascontiguousarray(getattr(events, field.name))
    missing = ~events.present(field.name)
    if field.name in _LETTERS:
        letters = pa.array([chr(code) for code in range(256)])
        if field.name != "type":
            missing = values == 0
        return letters.take(pa.array(values, mask=missing))
    if field.name in _NAMED:
        return pa.DictionaryArray.from_arrays(values.astype("i1"), list(_NAMED[field.name]))
    if field.name == "setup":
        return pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(8), len(values), [_bitmap(~missing), pa.py_buffer(values.tobytes())]
        )
    return pa.array(values, field.type, mask=missing)


def _bitmap(valid: npt.NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())


def _spans(starts: npt.NDArray[Any], sizes: npt.NDArray[Any]) -> tuple[Any, Any]:
    """For spans of an arena: Arrow's offsets, and the index of every byte in them."""
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    index = np.repeat(starts.astype(np.int64) - offsets[:-1], sizes) + np.arange(offsets[-1])
    return offsets, index


def _descriptors(events: Events) -> pa.Array:
    sizes = events.ndesc.astype(np.int64) * layout.DESCRIPTOR_SIZE
    offsets, index = _spans(events.data_at, sizes)
    packets = np.frombuffer(_arena(events)[index].tobytes(), _DESCRIPTOR)
    fields = [np.ascontiguousarray(packets[name]) for name in ("status", "offset", "length")]
    structs = pa.StructArray.from_arrays([pa.array(f) for f in fields], fields=list(_PACKET))
    places = (offsets // layout.DESCRIPTOR_SIZE).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(places), structs)


def _data(events: Events) -> pa.Array:
    head = events.ndesc.astype(np.int64) * layout.DESCRIPTOR_SIZE
    sizes = events.captured - head
    if sizes.sum() > 2**31 - 1:
        raise UsbmonError("more than 2 GiB of data in one batch; convert it in parts")
    offsets, index = _spans(events.data_at + head.astype(np.uint64), sizes)
    return pa.BinaryArray.from_buffers(
        pa.binary(),
        len(events),
        [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(_arena(events)[index])],
    )


def _arena(events: Events) -> npt.NDArray[np.uint8]:
    return np.frombuffer(events.buffers[1], np.uint8)


def from_arrow(table: Any) -> Events:
    """The events of a table with the columns of `SCHEMA` (see `Events.from_arrow`)."""
    table = _checked(table if isinstance(table, pa.Table) else pa.table(table))
    rows = np.zeros(len(table), row_dtype())
    for field in SCHEMA:
        if field.name in layout.OFFSET and field.name not in _ISO_ONLY:
            _fill(rows, field, table[field.name].combine_chunks())
    iso = rows["xfer_type"] == layout.ISO_XFER
    for name in _ISO_ONLY:
        column = table[name].combine_chunks()
        rows[name][iso] = column.fill_null(0).to_numpy(zero_copy_only=False)[iso]
        rows["absent"][iso & column.is_null().to_numpy(zero_copy_only=False)] |= layout.ABSENT_BIT[
            name
        ]
    return Events(rows.view(np.uint8).data, _payloads(rows, table))


def _checked(table: pa.Table) -> pa.Table:
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise UsbmonError(f"no events in this table: it has no column {', '.join(missing)}")
    try:
        return table.select(SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise UsbmonError(
            f"a column of this table has another type than events have: {error}"
        ) from None


def _fill(rows: npt.NDArray[np.void], field: pa.Field, column: pa.Array) -> None:
    null = column.is_null().to_numpy(zero_copy_only=False)
    if field.name in _NAMED:
        names = _NAMED[field.name]
        column = column.cast(pa.string())
        unknown = set(column.unique().to_pylist()) - set(names)
        if unknown:
            raise UsbmonError(f"{field.name} is one of {', '.join(names)}, not {unknown.pop()}")
        rows[field.name] = [names.index(value) for value in column.to_pylist()]
    elif field.name in _LETTERS:
        rows[field.name] = [ord(value) if value else 0 for value in column.to_pylist()]
    elif field.name == "setup":
        present = np.flatnonzero(~null)
        for index in present.tolist():
            rows["setup"][index] = np.frombuffer(column[index].as_py(), np.uint8)
    else:
        rows[field.name] = column.fill_null(0).to_numpy(zero_copy_only=False)
        if field.name in layout.ABSENT_BIT:
            rows["absent"][null] |= layout.ABSENT_BIT[field.name]


def _payloads(rows: npt.NDArray[np.void], table: pa.Table) -> memoryview:
    arena = bytearray()
    descriptors = table["descriptors"].to_pylist()
    for index, data in enumerate(table["data"].to_pylist()):
        rows["data_at"][index] = len(arena)
        packets = [(p["status"], p["offset"], p["length"], 0) for p in descriptors[index] or ()]
        arena += np.array(packets, _DESCRIPTOR).tobytes()
        arena += data or b""
        rows["captured"][index] = len(arena) - int(rows["data_at"][index])
        rows["ndesc"][index] = len(packets)
    return memoryview(arena)
