"""`usbmon info`: panels read by eye and compared whole; numbers compared with the library's."""

import json
import struct

import pytest

import usbmon as library
from tests.helpers import corpus, synthetic
from tests.helpers.command import process
from tests.helpers.wire import block, enhanced, interface, option, packet, section

HID = corpus.CAPTURES / "hid-xhci"
TEXT = HID / "1u.txt"
PCAP = HID / "usbmon1.pcap"
REFUSED = corpus.CAPTURES / "hid-gadget-refused"


GOLDEN = """\
{path}
  format       usbmon text, today's (1u, 0u)
  size         7.3 kB
  clock        monotonic (the 32-bit stamps of usbmon text, unwrapped)
  start        18.629490 s
  end          28.495807 s
  duration     9.866317 s
  events       116: 58 submissions, 56 completions, 2 submission errors
  buses        1
  devices      1.000, 1.001, 1.002

  endpoint  type       S   C  E  errors  bytes asked  bytes moved
  1.000.0   Ctrl out   1   1  0       0            0            0
  1.000.0   Ctrl in    1   1  0       0           64           18
  1.001.0   Ctrl out   5   5  0       0            0            0
  1.001.0   Ctrl in   14  14  0       2          109           95
  1.001.1   Intr in    7   5  2       5           24            2
  1.002.0   Ctrl out   2   2  0       0            0            0
  1.002.0   Ctrl in   11  11  0       0        1,878          211
  1.002.1   Intr in   11  11  0       1          176           80
  1.002.2   Intr out   6   6  0       0           96           96

  status          completions
  0                        50  completed
  ENOENT -2                 2  unlinked by the driver (usb_kill_urb, usb_unlink_urb sync)
  EINVAL -22                2  invalid URB
  EPIPE -32                 2  endpoint stalled
  ESHUTDOWN -108            2  device or host controller was shut down

  trust
  cut payloads          1 events have less data than was moved
  orphan completions    0
  orphan submissions    0
  doubled events        0
  clock steps back      0
  drops                 not told by this trace
  repairs               0
"""


def test_a_panel(usbmon):
    said = usbmon("info", REFUSED / "1u.txt").out
    assert said == GOLDEN.format(path=REFUSED / "1u.txt")


@pytest.mark.parametrize("path", corpus.shipped(), ids=corpus.name)
def test_json_has_the_counts_of_the_library(usbmon, path):
    told = json.loads(usbmon("info", "--json", path).out)
    with library.open(path) as trace:
        summary = library.Summary.of(trace)
        pairing = trace.decoder.pairing
    assert told["file"] == str(path)
    assert told["format"] == trace.format.name
    assert told["size"] == path.stat().st_size
    assert {name: told[name] for name in summary.as_dict()} == json.loads(
        json.dumps(summary.as_dict())
    )
    honesty = told["honesty"]
    assert honesty["cut_payloads"] == summary["cut"]
    assert honesty["orphan_completions"] == pairing.orphan_completions
    assert honesty["orphan_submissions"] == pairing.in_flight + pairing.lost_completions
    assert honesty["doubled"] == pairing.doubled
    assert honesty["repairs"] == 0


def test_json_of_several_files_is_an_array(usbmon):
    told = json.loads(usbmon("info", "--json", TEXT, PCAP).out)
    assert [trace["format"] for trace in told] == ["u", "pcap"]
    (interface,) = told[1]["interfaces"]
    assert (interface["link_type"], interface["packets"], interface["dropped"]) == (220, 368, None)


def test_json_of_what_cannot_be_read_is_none(usbmon, tmp_path):
    said = usbmon("info", "--json", tmp_path / "nope", code=1)
    assert said.out == ""
    said = usbmon("info", "--json", tmp_path / "nope", TEXT, code=1)
    assert len(json.loads(said.out)) == 1


def test_isochronous_bytes_are_at_most_so_many_where_packets_are_missing(usbmon):
    audio = corpus.CAPTURES / "audio-xhci"
    (text,) = (line for line in usbmon("info", audio / "1u.txt").lines if " Isoc " in line)
    (binary,) = (line for line in usbmon("info", audio / "usbmon1.pcap").lines if " Isoc " in line)
    assert "  ≤ " in text
    assert "≤" not in binary


def test_several_panels_stand_apart(usbmon):
    said = usbmon("info", TEXT, PCAP).out
    assert f"\n\n{PCAP}\n" in said


def test_the_old_text_says_what_it_lacks(usbmon):
    lines = usbmon("info", HID / "1t.txt").lines
    assert "  format       usbmon text, the old one (1t)" in lines
    assert "  buses        not told" in lines
    assert any(line.startswith("  ?.001.0   Ctrl in ") for line in lines)


def test_a_capture_says_its_interface_and_its_clock(usbmon):
    lines = usbmon("info", PCAP).lines
    assert "  interface 0  link type 220 USB_LINUX_MMAPPED, 368 packets" in lines
    assert "  clock        wall clock" in lines
    assert any(
        line.startswith("  start        2026-11-2") and line.endswith(" UTC") for line in lines
    )


def test_repairs_are_told_with_their_lines(usbmon, tmp_path):
    dirty = tmp_path / "dirty.txt"
    lines = TEXT.read_bytes().splitlines(keepends=True)[:10]
    dirty.write_bytes(b"".join(b"> " + line for line in lines) + b"\nwhat is this\n")
    said = usbmon("info", dirty).lines
    assert "  repairs               11" in said
    words = "10 lines with mail quoting removed (line 1, line 2, line 3, line 4, line 5, …)"
    assert f"{'':24}{words}" in said
    assert f"{'':24}1 lines that are no event, left out (line 12: what is this)" in said
    told = json.loads(usbmon("info", "--json", dirty).out)["honesty"]
    assert told["repairs"] == 11
    assert {note["kind"]: note["count"] for note in told["notes"]} == {
        "quoting": 10,
        "blank": 1,
        "unreadable": 1,
    }


def test_doubled_events_are_told(usbmon, tmp_path):
    both = tmp_path / "both.txt"
    lines = (HID / "1u.txt").read_bytes().splitlines(keepends=True)[:40]
    both.write_bytes(b"".join(line for line in lines for _ in range(2)))
    told = json.loads(usbmon("info", "--json", both).out)
    assert told["honesty"]["doubled"] > 30
    assert "were recorded twice (two readers in one file)" in usbmon("info", both).out


def test_statistics_are_read(usbmon):
    lines = usbmon("info", HID / "usbmon-stat.txt").lines
    assert "  format       usbmon statistics (1s, 0s)" in lines
    assert "  statistics   1s: nreaders 6 events 368 text_lost 0" in lines


def test_a_compressed_trace_says_so(usbmon, tmp_path):
    library.write(tmp_path / "x.pcapng.zst", library.read(TEXT))
    lines = usbmon("info", tmp_path / "x.pcapng.zst").lines
    assert "  compression  zst" in lines


def test_drops_and_comments_of_a_pcapng_are_told(usbmon, tmp_path):
    path = tmp_path / "x.pcapng"
    comment = option(1, b"a comment")
    dropped = struct.pack("<III", 0, 0, 0) + option(5, struct.pack("<Q", 3))
    path.write_bytes(section(comment) + interface() + enhanced(packet()) + block(5, dropped))
    said = usbmon("info", path).out
    assert "comment      a comment" in said
    assert "3 events were dropped while capturing" in said


def test_nothing_is_a_panel_too(usbmon, tmp_path):
    (tmp_path / "empty.txt").touch()
    lines = usbmon("info", tmp_path / "empty.txt").lines
    assert "  events       0: 0 submissions, 0 completions, 0 submission errors" in lines


def test_strict_refuses_what_needs_mending(usbmon, tmp_path):
    dirty = tmp_path / "dirty.txt"
    dirty.write_bytes(b"> " + TEXT.read_bytes())
    said = usbmon("info", "--strict", dirty, code=4)
    assert said.out == ""
    assert "line 1: lines with mail quoting removed" in said.err


def test_standard_input_has_no_size():
    said = process("info", "-", input=TEXT.read_bytes()).stdout.decode().splitlines()
    assert said[0] == "standard input"
    assert not any(line.startswith("  size") for line in said)


def test_what_a_capture_says_beside_its_traffic(usbmon, tmp_path):
    events = library.read(HID / "usbmon1.pcap")
    path = synthetic.capture(tmp_path / "x.pcapng", events)
    lines = usbmon("info", path).lines
    zero = min(e.ts for e in events)
    first, second = ((int(events[n].ts) - zero) / 1e9 for n in (39, 49))
    for line in (
        "  interface 0  link type 220 USB_LINUX_MMAPPED, 368 packets, 130 dropped,",
        "               usbmon1 bus 1, os Linux 6.1, hardware xhci_hcd, filter device 5",
        "  interface 1  link type 220 USB_LINUX_MMAPPED, 4 packets, usbmon1-devices",
        "               synthetic: descriptors that sysfs told, not seen on the bus",
        "  descriptors  1 device, 2 transfers read from sysfs, not seen on the bus",
        "  comment      a ring of 300 KiB",
        "  comment      1-4: a keyboard",
        "  drops                 130 events were dropped while capturing",
        f"                        123 before {first:.6f} s",
        f"                        7 from {first:.6f} s to {second:.6f} s",
    ):
        assert line in lines
    assert all(len(line) <= 80 for line in lines[: lines.index("")])
    plain = usbmon("info", HID / "usbmon1.pcap").lines
    assert [line for line in lines if line.startswith("  1.")] == [
        line for line in plain if line.startswith("  1.")
    ]


def test_where_it_was_dropped_is_told_for_programs(usbmon, tmp_path):
    events = library.read(HID / "usbmon1.pcap")
    path = synthetic.capture(tmp_path / "x.pcapng", events)
    said = json.loads(usbmon("info", "--json", path).out)
    first, second = int(events[39].ts), int(events[49].ts)
    assert said["interfaces"][0]["drops"] == [
        {"start": None, "end": first, "lost": 123},
        {"start": first, "end": second, "lost": 7},
    ]
    assert said["descriptors"] == {"devices": [{"busnum": 1, "devnum": 5}], "transfers": 2}
    assert said["honesty"]["dropped"] == 130


def test_of_many_places_the_first_are_told(usbmon, tmp_path):
    path = tmp_path / "x.pcapng"
    with library.Writer(path) as writer:
        for n in range(1, 9):
            writer.drops(0, n, n * 10**9)
    lines = usbmon("info", path).lines
    assert "                        1 from 2.000000 s to 3.000000 s" in lines
    assert "                        and at 5 more places (see --json)" in lines


def test_with_a_filter_only_what_it_lets_through_is_counted_and_that_is_said(usbmon):
    lines = usbmon("info", "-F", "addr == 2 and ep.in", REFUSED / "1u.txt").lines
    assert lines[1:3] == [
        "  filter       addr == 2 and ep.in",
        "               only these are counted: 44 of 116 events",
    ]
    assert "  events       44: 22 submissions, 22 completions, 0 submission errors" in lines
    assert "  trust (orphans, doubled events, drops and repairs: of the whole trace)" in lines


def test_json_names_the_filter(usbmon):
    told = json.loads(usbmon("info", "--json", "-F", "event==E", REFUSED / "1u.txt").out)
    assert told["filter"] == {"text": "event == E", "events_read": 116}
    assert told["kinds"] == {"S": 0, "C": 0, "E": 2}
    assert json.loads(usbmon("info", "--json", REFUSED / "1u.txt").out)["filter"] is None
