"""What a monitor sees of a USB/IP connection that passes by."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbmon.bus import usbip
from usbmon.bus.link import Link, Passage
from usbmon.bus.loop import Loop
from usbmon.monitor.collector import Collector
from usbmon.monitor.main import Monitor

ECONNRESET, ESHUTDOWN, EINPROGRESS, EXDEV, EPROTO = -104, -108, -115, -18, -71
NO_SETUP = bytes(8)
GET_DEVICE = bytes.fromhex("8006000100001200")
SET_REPORT = bytes.fromhex("2109000200000100")
DESCRIPTOR = bytes.fromhex("120100020000004027060100000001040b01")

KEYBOARD = usbip.DeviceInfo(
    "/sys/devices/pci0000:00/0000:00:05.0/usb1/1-1", "1-1", 1, 2, 3, 0x0627, 1, 0, 0, 0, 0, 0, 1
)
IMPORT = usbip.ReqImport("1-1").encode()
IMPORTED = usbip.RepImport(KEYBOARD).encode()


def command(seqnum: int, direction: int, ep: int, length: int, **more: Any) -> bytes:
    """A CMD_SUBMIT with nothing special, but for what is said."""
    fields: dict[str, Any] = {
        "devid": 0x10002,
        "transfer_flags": 0x200 if direction == usbip.IN else 0,
        "start_frame": 0,
        "number_of_packets": len(more.get("iso", ())),
        "interval": 0,
        "setup": NO_SETUP,
    }
    fields |= more
    return usbip.CmdSubmit(
        seqnum, direction=direction, ep=ep, transfer_buffer_length=length, **fields
    ).encode()


def result(seqnum: int, status: int, length: int, **more: Any) -> bytes:
    """A RET_SUBMIT, as Linux sends it."""
    fields = {"number_of_packets": len(more.get("iso", ())), **more}
    return usbip.RetSubmit(seqnum, status, length, **fields).encode()


# A conversation with all types of transfer, by who speaks: True for the client.
ASKED = (usbip.IsoDescriptor(0, 8, 0, EXDEV), usbip.IsoDescriptor(10, 8, 0, EXDEV))
TOLD = (usbip.IsoDescriptor(0, 8, 3, 0), usbip.IsoDescriptor(10, 8, 2, EPROTO))
CONVERSATION = [
    (True, IMPORT),
    (False, IMPORTED),
    (True, command(1, usbip.IN, 0, 18, setup=GET_DEVICE)),
    (False, result(1, 0, 18, data=DESCRIPTOR)),
    (True, command(2, usbip.OUT, 0, 1, setup=SET_REPORT, data=b"\x01")),
    (True, command(3, usbip.IN, 1, 8, interval=64)),
    (True, command(4, usbip.OUT, 2, 4, data=b"bulk", transfer_flags=0x40)),
    (False, result(2, 0, 1) + result(4, 0, 4)),
    (True, command(5, usbip.IN, 3, 18, interval=1, start_frame=0xFFFFFFFF, iso=ASKED)),
    (False, result(5, 0, 5, start_frame=77, error_count=1, data=b"abcde", iso=TOLD)),
    (True, usbip.CmdUnlink(6, 3).encode()),
    (False, usbip.RetUnlink(6, ECONNRESET).encode()),
    (True, command(7, usbip.IN, 4, 512)),
    (False, result(7, 0, 2, data=b"ok")),
    (True, usbip.CmdUnlink(8, 7).encode()),
    (False, usbip.RetUnlink(8, 0).encode()),
]

# Letter, URB, type, endpoint, status, length, data, setup.
SEEN = [
    ("S", 0, "control", 0x80, EINPROGRESS, 18, b"", GET_DEVICE),
    ("C", 0, "control", 0x80, 0, 18, DESCRIPTOR, None),
    ("S", 1, "control", 0x00, EINPROGRESS, 1, b"\x01", SET_REPORT),
    ("S", 2, "interrupt", 0x81, EINPROGRESS, 8, b"", None),
    ("S", 3, "bulk", 0x02, EINPROGRESS, 4, b"bulk", None),
    ("C", 1, "control", 0x00, 0, 1, b"", None),
    ("C", 3, "bulk", 0x02, 0, 4, b"", None),
    ("S", 4, "iso", 0x83, EINPROGRESS, 18, b"", None),
    ("C", 4, "iso", 0x83, 0, 5, b"abc" + bytes(7) + b"de", None),
    ("C", 2, "interrupt", 0x81, ECONNRESET, 0, b"", None),
    ("S", 5, "bulk", 0x84, EINPROGRESS, 512, b"", None),
    ("C", 5, "bulk", 0x84, 0, 2, b"ok", None),
]


class Listener:
    """A monitor on a link, and what its passages report."""

    def __init__(self) -> None:
        self.link = Link(Loop())
        self.said: list[str] = []
        self._collector = Collector(Monitor([self.link]).buses[0])

    def passage(self, *, imported: bool = True) -> Passage:
        passage = Passage(self.link, "here", self.said.append)
        if imported:
            passage.from_client(IMPORT)
            passage.from_server(IMPORTED)
            self.said.clear()
        return passage

    def events(self) -> list[Any]:
        """What was seen since the last time."""
        return list(self._collector.take())

    def seen(self) -> list[tuple[Any, ...]]:
        """The same, as a row of `SEEN` has it, with the URBs numbered as they come."""
        events = self.events()
        numbers: dict[int, int] = {}
        for event in events:
            numbers.setdefault(event.id, len(numbers))
        return [
            (
                event.type,
                numbers[event.id],
                event.xfer_type,
                event.epnum,
                event.status,
                event.length,
                bytes(event.data or b""),
                event.setup,
            )
            for event in events
        ]


def say(passage: Passage, is_client: bool, data: bytes) -> None:
    (passage.from_client if is_client else passage.from_server)(data)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def passage(listener: Listener) -> Passage:
    return listener.passage()


def test_a_conversation_is_seen_as_the_events_of_a_bus(listener) -> None:
    passage = listener.passage(imported=False)
    for is_client, data in CONVERSATION:
        say(passage, is_client, data)
    assert listener.seen() == SEEN
    assert listener.said == ["here: has 1-1, 0627:0001, bus 1 device 2"]
    passage.close()
    assert listener.events() == []
    assert passage.urbs == 6


@given(st.integers(1, 200))
def test_however_it_is_cut_the_same_is_seen(size: int) -> None:
    listener = Listener()
    passage = listener.passage(imported=False)
    for is_client, data in CONVERSATION:
        for at in range(0, len(data), size):
            say(passage, is_client, data[at : at + size])
    assert listener.seen() == SEEN


def test_an_event_has_the_numbers_of_the_device_where_it_is(listener) -> None:
    passage = listener.passage(imported=False)
    info = usbip.DeviceInfo("", "7-2", 7, 19, 3, *[0] * 8)
    passage.from_client(usbip.ReqImport("7-2").encode())
    passage.from_server(usbip.RepImport(info).encode())
    passage.from_client(command(1, usbip.IN, 1, 8))
    (event,) = listener.events()
    assert (event.busnum, event.devnum) == (7, 19)


def test_what_is_asked_is_kept_of_an_urb(listener, passage) -> None:
    passage.from_client(command(1, usbip.IN, 1, 8, interval=64, transfer_flags=0x201))
    passage.from_client(command(2, usbip.IN, 3, 18, interval=4, start_frame=0xFFFFFFFF, iso=ASKED))
    interrupt, iso = listener.events()
    assert (interrupt.interval, interrupt.xfer_flags) == (64, 0x201)
    assert (iso.interval, iso.start_frame, iso.numdesc) == (4, -1, 2)


def test_what_became_of_packets_is_seen(listener, passage) -> None:
    passage.from_client(command(1, usbip.IN, 3, 18, interval=1, iso=ASKED))
    passage.from_server(result(1, 0, 5, start_frame=77, error_count=1, data=b"abcde", iso=TOLD))
    asked, told = listener.events()
    assert [tuple(p)[:3] for p in asked.descriptors] == [(EXDEV, 0, 8), (EXDEV, 10, 8)]
    assert [tuple(p)[:3] for p in told.descriptors] == [(0, 0, 3), (EPROTO, 10, 2)]
    assert (told.start_frame, told.error_count) == (77, 1)


def test_tags_are_unique_among_all_connections(listener) -> None:
    first, second = listener.passage(), listener.passage()
    for passage in (first, second, first):
        number = passage.urbs + 1
        passage.from_client(command(number, usbip.IN, 1, 8))
        passage.from_server(result(number, 0, 0))
    events = listener.events()
    assert [event.type for event in events] == ["S", "C"] * 3
    assert len({event.id for event in events}) == 3


def test_an_import_that_is_refused_may_be_asked_for_again(listener) -> None:
    passage = listener.passage(imported=False)
    passage.from_client(IMPORT)
    passage.from_server(usbip.RepImport(None, usbip.ST_DEV_BUSY).encode())
    passage.from_client(usbip.ReqDevlist().encode())
    passage.from_server(usbip.RepDevlist((KEYBOARD,)).encode())
    passage.from_client(IMPORT)
    passage.from_server(IMPORTED)
    passage.from_client(command(1, usbip.IN, 1, 8))
    assert len(listener.events()) == 1
    assert listener.said == ["here: has 1-1, 0627:0001, bus 1 device 2"]


# Unlinking, as vhci_recv_ret_unlink of drivers/usb/usbip/vhci_rx.c sees it.


@pytest.mark.parametrize("status", [0, ECONNRESET])
def test_an_urb_that_is_taken_back_ends_with_the_answer(listener, passage, status: int) -> None:
    passage.from_client(command(1, usbip.IN, 1, 8) + usbip.CmdUnlink(2, 1).encode())
    passage.from_server(usbip.RetUnlink(2, status).encode())
    passage.close()
    assert [row[::4] for row in listener.seen()] == [("S", EINPROGRESS), ("C", status)]


def test_a_completion_that_comes_before_the_answer_is_the_urb_s(listener, passage) -> None:
    passage.from_client(command(1, usbip.IN, 1, 8) + usbip.CmdUnlink(2, 1).encode())
    passage.from_server(result(1, 0, 2, data=b"ok") + usbip.RetUnlink(2, 0).encode())
    passage.close()
    assert [row[6] for row in listener.seen()] == [b"", b"ok"]


def test_an_answer_that_nobody_asked_for_changes_nothing(listener, passage) -> None:
    passage.from_client(command(1, usbip.IN, 1, 8))
    passage.from_server(usbip.RetUnlink(9, ECONNRESET).encode())
    assert len(listener.events()) == 1
    assert listener.said == []


# The end.


def test_what_is_under_way_when_the_connection_ends_ends_with_the_device(listener, passage) -> None:
    passage.from_client(command(1, usbip.IN, 1, 8) + command(2, usbip.IN, 0x2, 8))
    passage.from_client(command(3, usbip.IN, 1, 8)[:40])
    passage.close()
    passage.from_server(result(1, 0, 0))
    passage.close()
    assert [(row[0], row[1], row[4]) for row in listener.seen()] == [
        ("S", 0, EINPROGRESS),
        ("S", 1, EINPROGRESS),
        ("C", 0, ESHUTDOWN),
        ("C", 1, ESHUTDOWN),
    ]


GARBAGE = [
    (True, bytes(48)),
    (True, command(1, usbip.IN, 1, 8)),  # a number that is under way
    (True, command(2, usbip.IN, 1, usbip.MAX_LENGTH + 1)),
    (True, command(2, usbip.IN, 16, 8)),
    (False, bytes(48)),
    (False, result(2, 0, 0)),  # never submitted
    (False, result(1, 0, 9, data=bytes(9))),  # more than there is room for
]


@pytest.mark.parametrize(("is_client", "data"), GARBAGE, ids=range(len(GARBAGE)))
def test_what_is_no_usbip_ends_the_listening_and_is_told_once(
    listener, passage, is_client: bool, data: bytes
) -> None:
    passage.from_client(command(1, usbip.IN, 1, 8))
    say(passage, is_client, data)
    say(passage, is_client, data)
    passage.from_client(command(5, usbip.IN, 1, 8))
    (line,) = listener.said
    assert line.startswith("here: passed on, but no longer understood: ")
    passage.close()
    assert [(row[0], row[4]) for row in listener.seen()] == [("S", EINPROGRESS), ("C", ESHUTDOWN)]


def test_what_came_before_the_garbage_is_seen(listener, passage) -> None:
    passage.from_client(command(1, usbip.IN, 1, 8) + bytes(48))
    assert len(listener.events()) == 1
    assert len(listener.said) == 1


def test_another_connection_is_still_listened_to(listener, passage) -> None:
    listener.passage().from_client(bytes(48))
    passage.from_client(command(1, usbip.IN, 1, 8))
    assert len(listener.events()) == 1


def test_no_connection_makes_the_listener_hold_memory_without_end(
    listener, passage, monkeypatch
) -> None:
    monkeypatch.setattr(usbip, "MAX_IN_FLIGHT", 100_000)
    passage.from_client(b"".join(command(n, usbip.IN, 1, 40_000) for n in range(3)))
    assert len(listener.events()) == 2
    assert "are under way" in listener.said[0]


def test_with_nobody_listening_it_goes_on(listener) -> None:
    listener.link.tap = None
    passage = listener.passage()
    passage.from_client(command(1, usbip.IN, 1, 8))
    passage.from_server(result(1, 0, 0))
    passage.close()
    assert listener.said == []


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.binary(max_size=200)
            | st.sampled_from([data for _, data in CONVERSATION[2:]])
            | st.builds(
                command,
                st.integers(1, 8),
                st.sampled_from([usbip.OUT, usbip.IN]),
                st.integers(0, 4),
                st.just(18),
                data=st.sampled_from([b"", bytes(18)]),
                setup=st.binary(min_size=8, max_size=8),
                iso=st.sampled_from([(), ASKED]),
            )
            | st.builds(result, st.integers(1, 8), st.integers(-200, 0), st.integers(0, 9)),
        )
    )
)
def test_whatever_passes_each_urb_is_submitted_and_completed_once(turns) -> None:
    listener = Listener()
    passage = listener.passage()
    for is_client, data in turns:
        say(passage, is_client, data)
    passage.close()
    events = listener.events()
    for letter in "SC":
        tags = [event.id for event in events if event.type == letter]
        assert len(set(tags)) == len(tags) == passage.urbs
