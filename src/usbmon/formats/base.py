"""What every codec is: a `Decoder` (bytes in, events out) or an `Encoder` (the way back).

Here: the two contracts, the notes that a decoder takes of what it mended or passed over, what a
file tells beside its events (interfaces, reports), and the bookkeeping that all share (chunks,
ingest numbers). Not here: any format, any file.

A decoder's contract, in three lines: `feed` bytes and it returns the events that are complete;
`close` and it returns the rest; what is not of its format raises `FormatError`. Chunks may be cut
anywhere. Each format implements one method, `decode`, which is given a block that starts at a
record and says how much of it it used; all buffering is done here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from usbmon._kernel import pairs, tally
from usbmon.errors import FormatError
from usbmon.events import Events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# What a decoder may note: is it an error where `strict` asks for one, and the words for it.
NOTES: Final[dict[str, tuple[bool, str]]] = {
    "bom": (True, "byte order mark at the start removed"),
    "crlf": (True, "lines ending in CR LF"),
    "quoting": (True, "lines with mail quoting removed"),
    "prefix": (True, "lines with a prefix (as grep's file name) removed"),
    "spacing": (True, "lines with unusual spacing"),
    "tag": (True, "tags that are not as the kernel prints them"),
    "wrapped": (True, "wrapped lines joined"),
    "kernel log": (True, "kernel log lines in between removed"),
    "cut line": (True, "last line cut short"),
    "unreadable": (True, "lines that are no event, left out"),
    "blank": (False, "blank lines"),
    "statistics": (False, "statistics lines (nreaders, events, text_lost)"),
    "cut record": (True, "bytes of an unfinished record at the end, left out"),
    "cut stream": (True, "compressed stream ends early"),
    "short record": (True, "records that are no USB event, left out"),
    "no transfer": (False, "records of requests that are no transfer passed over"),
    "filler": (False, "fillers of the mapped ring passed over"),
    "other link type": (False, "packets of other link types passed over"),
    "unknown block": (False, "blocks of other types passed over"),
    "comment": (False, "comments"),
    "dropped": (False, "events that the capturing program reports as dropped"),
}

PLACES_KEPT: Final = 5
_BUFFERS_KEPT: Final = 8
_COMMENT_LIMIT: Final = 200
COMMENTS_KEPT: Final = 100

_CENSUS: Final = {name: place for place, name in enumerate(tally.CENSUS)}
_SYNTHETIC: Final = _CENSUS["synthetic"]
# What no format but pcapng has a place for, of `cannot_hold`.
UNMARKED: Final = ("synthetic", "comments", "drops")
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

# An interface whose description starts so has no traffic: its packets are synthetic events.
SYNTHETIC_WORDS: Final = "synthetic: "


class Note:
    """One kind of thing noted: how often, and where the first few times."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.count = 0
        self.places: list[str] = []

    @property
    def words(self) -> str:
        return NOTES[self.kind][1]

    @property
    def is_repair(self) -> bool:
        """True for what `strict` would refuse; False for what is merely worth knowing."""
        return NOTES[self.kind][0]

    def __repr__(self) -> str:
        return f"<Note {self.count} × {self.kind}: {', '.join(self.places)}>"


class Notes(dict[str, Note]):
    """All that a decoder noted, by kind."""

    def __init__(self, file: str = "", strict: bool = False) -> None:
        super().__init__()
        self.file = file
        self.strict = strict

    def add(
        self,
        kind: str,
        *,
        count: int = 1,
        line: int | None = None,
        offset: int | None = None,
        text: str = "",
    ) -> None:
        """Count it, and keep the place. Raises `FormatError` where `strict` and it is a repair."""
        if self.strict and NOTES[kind][0]:
            raise FormatError(
                f"{NOTES[kind][1]}: strict reading refuses what could be mended",
                file=self.file,
                line=line,
                offset=offset,
                mendable=True,
            )
        note = self.setdefault(kind, Note(kind))
        note.count += count
        if len(note.places) < PLACES_KEPT:
            place = f"line {line}" if line is not None else ""
            if offset is not None:
                place = f"byte {offset}"
            if text:
                place = f"{place}: {text}" if place else text
            place = place[:_COMMENT_LIMIT]
            if place and place not in note.places:
                note.places.append(place)

    @property
    def repairs(self) -> int:
        return sum(note.count for note in self.values() if note.is_repair)


class Drop(NamedTuple):
    """So many events lost between two times (ns; `start` is None where nothing tells it)."""

    start: int | None
    end: int
    lost: int


class Interface:
    """Where packets of a capture file came from: a pcapng interface, or a file as a whole.

    `about`: what else is known of it, by name ("os", "hardware", "filter"). `snaplen`: the most
    bytes that a packet has in the file, 0 for no limit. `dropped`: how many events were lost, None
    where nothing tells; `drops`: where, the first hundred places.
    """

    def __init__(self, link_type: int, name: str = "", description: str = "") -> None:
        self.link_type = link_type
        self.name = name
        self.description = description
        self.about: dict[str, str] = {}
        self.comments: list[str] = []
        self.snaplen = 0
        self.packets = 0
        self.dropped: int | None = None
        self.drops: list[Drop] = []

    @classmethod
    def synthetic(cls, beside: str) -> Interface:
        """The one for synthetic events, beside the interface of this name."""
        words = f"{SYNTHETIC_WORDS}descriptors that sysfs told, not seen on the bus"
        return cls(220, f"{beside or 'usbmon'}-devices", words)

    @property
    def is_synthetic(self) -> bool:
        return self.description.startswith(SYNTHETIC_WORDS)

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "drops": [drop._asdict() for drop in self.drops]}

    def __repr__(self) -> str:
        return f"<Interface {self.name or '?'} link type {self.link_type}>"


class Report(NamedTuple):
    """What a capture file says of an interface at a time (ns), between its events: the totals so
    far of events received and dropped (`os_dropped`: by the system), and comments."""

    interface: int
    ts: int
    received: int | None = None
    dropped: int | None = None
    os_dropped: int | None = None
    start: int | None = None
    end: int | None = None
    comments: tuple[str, ...] = ()


class Decoder(ABC):
    """Bytes of one stream in, `Events` out. One object a stream.

    `about` has what the stream says of itself (hardware, os, application), `comments` the texts of
    its comments, the first hundred of them, and `own_comments` those of the stream as a whole.
    `on_report`, if set, is called with each `Report`; whoever uses `advance` gets the events before
    a report first.
    """

    format: ClassVar[str]

    def __init__(self, *, file: str = "", strict: bool = False) -> None:
        """`file` names the input in errors; `strict` makes the first repair a `FormatError`."""
        self.file = file
        self.notes = Notes(file, strict)
        self.pairing = pairs.Pairing()
        self.interfaces: list[Interface] = []
        self.about: dict[str, str] = {}
        self.comments: list[str] = []
        self.own_comments: list[str] = []
        self.on_report: Callable[[Report], None] | None = None
        self.position = 0
        self.buffers = Buffers()
        self._rest = b""

    @property
    def variant(self) -> str:
        """What kind of the format it is, in words: byte order, resolution, header size."""
        return ""

    @abstractmethod
    def decode(self, block: memoryview, final: bool) -> tuple[Events, int]:
        """The events of whole records in `block`, and how many of its bytes they took.

        `block` starts at the byte `position` of the stream, where a record starts. It is writable,
        and the events may go on pointing into it. With `final`, nothing follows it.
        """

    def advance(self, block: memoryview, final: bool) -> tuple[Events, int]:
        """`decode`, with the position kept. Who calls this gives what was not used again, with more
        behind it; `feed` does that for those who have bytes."""
        events, used = self.decode(block, final)
        self.position += used
        return events, used

    def feed(self, data: bytes | bytearray | memoryview) -> Events:
        """The events that are complete with these bytes. Raises `FormatError`, at the next call if
        there are events before what is wrong."""
        block = bytearray(self._rest)
        block += data
        return self._advance_all(block, final=False)

    def close(self) -> Events:
        """The events that were waiting for more bytes, now that none come. Raises `FormatError`."""
        return self._advance_all(bytearray(self._rest), final=True)

    def _advance_all(self, block: bytearray, final: bool) -> Events:
        view = memoryview(block)
        batches: list[Events] = []
        at = 0
        while True:
            try:
                events, used = self.advance(view[at:], final)
            except FormatError:
                if final or not any(map(len, batches)):
                    raise
                break  # what came before it is given first; whoever goes on meets it again
            batches.append(events)
            at += used
            if used == 0 or at == len(view):
                break
        self._rest = bytes(view[at:])
        return Events.concat(batches)

    def fail(self, message: str, offset: int = 0) -> FormatError:
        """An error at so many bytes behind the start of the block."""
        return FormatError(message, file=self.file, offset=self.position + offset)


class Encoder(ABC):
    """Events in, bytes of one stream out. One object a stream.

    `lost` counts, in words, what the format cannot hold of the events so far; `made_up` what it
    must write although the events do not say it (as 0).
    """

    format: ClassVar[str]

    # Counters of `tally.CENSUS` that stand for a loss in this format, and for something made up.
    cannot_hold: ClassVar[tuple[str, ...]] = ()
    must_write: ClassVar[tuple[str, ...]] = ()

    # The limits of the format, as `tally.census` takes them; -1: none.
    data_limit: ClassVar[int] = -1
    descriptor_limit: ClassVar[int] = -1

    def __init__(self) -> None:
        self.buffers = Buffers()
        self._census = memoryview(bytearray(8 * len(tally.CENSUS))).cast("q")

    def begin(
        self,
        interfaces: Iterable[Interface] = (),
        about: Mapping[str, str] = _NOTHING,
        comments: Iterable[str] = (),
    ) -> bytes:
        """What stands before the first event. `about` and `comments`: of the stream as a whole.
        `interfaces` may get longer later: it is looked at again before each batch."""
        self._count("comments", len(tuple(comments)))
        return self.head(interfaces)

    def head(self, interfaces: Iterable[Interface]) -> bytes:
        """What stands before the first event, in a format that knows no comments."""
        return b""

    @abstractmethod
    def write(self, events: Events) -> bytes | memoryview:
        """The bytes of these events, none of which is synthetic or has comments."""

    def write_marked(self, events: Events) -> bytes | memoryview:
        """The bytes of events some of which are synthetic or have comments."""
        self._count("comments", sum(map(len, events.comments.values())))
        return self.write(events[~events.synthetic])

    def encode(self, events: Events) -> bytes | memoryview:
        """The bytes of these events; what does not fit is counted."""
        rows, _ = events.buffers
        before = self._census[_SYNTHETIC]
        tally.census(rows, len(events), self.data_limit, self.descriptor_limit, self._census)
        if events.comments or self._census[_SYNTHETIC] > before:
            return self.write_marked(events)
        return self.write(events)

    def fitting(self, events: Events, size: int, whole: int) -> tuple[int, int]:
        """How many of the events just encoded are whole in the first `size` bytes of the `whole`
        that was made of them, and how many bytes that is."""
        census = bytes(self._census)
        sizes = [len(self.encode(events[n : n + 1])) for n in range(len(events))]
        self._census.cast("B")[:] = census  # they have been counted before
        at = whole - sum(sizes)  # behind what stands before the first
        if at > size:
            return 0, 0
        for count, one in enumerate(sizes):
            if at + one > size:
                return count, at
            at += one
        return len(events), at

    def report(self, report: Report) -> bytes:
        """What says so; nothing, in a format that has no place for it, where it is counted."""
        self._count("comments", len(report.comments))
        self._count("drops", report.dropped is not None)
        return b""

    def drops(self, interface: int, total: int, ts: int) -> bytes:
        """What says that up to now (ns) so many events were dropped."""
        return self.report(Report(interface, ts, dropped=total, end=ts))

    def note(self, text: str, ts: int, interface: int = 0) -> bytes:
        """What says `text` of a time (ns)."""
        return self.report(Report(interface, ts, comments=(text,)))

    def end(self) -> bytes:
        """What stands behind the last event."""
        return b""

    @property
    def lost(self) -> dict[str, int]:
        return self._counted(self.cannot_hold)

    @property
    def made_up(self) -> dict[str, int]:
        return self._counted(self.must_write)

    def _count(self, name: str, count: int) -> None:
        self._census[_CENSUS[name]] += count

    def _counted(self, names: tuple[str, ...]) -> dict[str, int]:
        counts = zip(tally.CENSUS, self._census, strict=True)
        return {tally.CENSUS[name]: n for name, n in counts if name in names and n}


class Buffers:
    """Large buffers that are used again when no `Events`, nor anything else, look into them: fresh
    pages from the system cost more than what is done in them.

    Whether something looks is told by Python itself: a bytearray refuses to be resized then.
    """

    def __init__(self) -> None:
        self._known: dict[int, deque[bytearray]] = {}

    def take(self, size: int) -> memoryview:
        """A buffer of so many bytes, whatever they hold; any thread may ask."""
        step = 1 << max(12, size.bit_length() - 3)  # few sizes, so that most requests find theirs
        rounded = -(-size // step) * step
        known = self._known.setdefault(rounded, deque(maxlen=_BUFFERS_KEPT))
        for _ in range(len(known)):
            buffer = known.popleft()  # now no other thread can get it
            view = memoryview(buffer) if _is_free(buffer) else None
            known.append(buffer)
            if view is not None:
                return view[:size]
        buffer = bytearray(rounded)
        view = memoryview(buffer)
        known.append(buffer)
        return view[:size]


def _is_free(buffer: bytearray) -> bool:
    try:
        buffer.append(0)
    except BufferError:
        return False
    buffer.pop()
    return True
