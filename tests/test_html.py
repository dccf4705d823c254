from html.parser import HTMLParser

import pytest

from tests.helpers.generated import batch
from usbmon import Events, layout

CONTROL = {"xfer_type": 2, "type": ord("S"), "busnum": 1, "devnum": 3, "epnum": 0x80}


class Rows(HTMLParser):
    """The cells of a table by rows, and the tags that were not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.caption = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] == "caption":
            self.caption += data
        else:
            self.rows[-1][-1] += data


def test_a_row_tells_the_event():
    setup = bytes.fromhex("8006000100001200")
    events = batch([{**CONTROL, "setup": setup, "status": -115, "length": 18, "ts": 1_500_000_000}])
    table = Rows(events._repr_html_())
    assert table.open == []
    assert table.caption == "1 USB events"
    assert table.rows[1] == [
        "0",
        "1.500000",
        "1.003.0",
        "control in",
        "S",
        "-115",
        "18",
        "80 06 00 01 00 00 12 00",
    ]


def test_what_is_absent_is_not_shown_as_zero():
    bits = [layout.ABSENT_BIT[name] for name in ("busnum", "ts", "length")]
    table = Rows(batch([{**CONTROL, "absent": sum(bits), "flag_setup": 45}])._repr_html_())
    assert table.rows[1][1:3] == ["", "?.003.0"]
    assert table.rows[1][6] == ""


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (20, 20), (21, 21), (5000, 21)])
def test_the_middle_of_a_large_batch_is_a_line(count, shown):
    event = {**CONTROL, "flag_setup": 45, "ts": 0}
    table = Rows(batch([event] * count)._repr_html_() if count else Events.empty()._repr_html_())
    assert len(table.rows) - 1 == shown
    if count > 20:
        assert f"{count - 20:,} more" in table.rows[11][0]


def test_data_is_escaped_and_cut():
    table = Rows(batch([{**CONTROL, "flag_setup": ord("<"), "payload": bytes(17)}])._repr_html_())
    assert table.rows[1][7] == "00000000 00000000 00000000 00000000 …"
