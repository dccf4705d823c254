"""Readers of usbmon in the guest, side by side: what each saw of the same events of a bus.

    with Recording(guest, bus, Tcpdump(), Text(), GetX()) as recording:
        ...  # something happens on the bus
    recording.check()  # all have the same events

Each recorder reads from before the first event to after the last, and has `events` then.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.helpers import readers
from usbmon import files

if TYPE_CHECKING:
    from tests.live.guest import Done, Guest, Running
    from usbmon.events import Events

STAT = "/sys/kernel/debug/usb/usbmon/{}s"  # nreaders N events N text_lost N


class Recorder:
    """One reader: its command, which writes to a file of the guest, and how it ends."""

    suffix = "pcap"
    format: str | None = None  # of the file, where the file does not say it
    says = ""  # what its output has once it reads
    signal = "INT"

    events: Events
    done: Done
    lost = 0

    @property
    def name(self) -> str:
        return type(self).__name__

    def command(self, bus: int, out: str) -> str:
        raise NotImplementedError

    def start(self, guest: Guest, bus: int) -> None:
        self.guest, self.bus = guest, bus
        self.out = f"/tmp/{self.name}{id(self)}.{self.suffix}"
        self.running: Running = guest.start(self.command(bus, self.out))
        ready = f"ls -l /proc/{self.running.pid}/fd | grep -q usbmon"
        if self.says:
            ready += f" && grep -q '{self.says}' {self.running.file}"
        guest.wait_for(ready)

    def stop(self) -> None:
        self.done = self.running.stop(self.signal)
        self.lost = self.count_lost()

    def count_lost(self) -> int:
        return 0

    def read(self) -> None:
        path = self.guest.fetch(self.out)
        self.events = files.read(path, format=self.format)


class Tcpdump(Recorder):
    says = "listening on"

    def __init__(self, *options: str) -> None:
        self._options = " ".join(options)

    def command(self, bus: int, out: str) -> str:
        return f"tcpdump -Z root -i usbmon{bus} -s 0 {self._options} -w {out}"

    def count_lost(self) -> int:
        found = re.search(r"(\d+) packets? dropped by kernel", self.done.output)
        assert found, self.done.output
        return int(found[1])


class Text(Recorder):
    """`cat` of the text file."""

    suffix = "txt"
    signal = "TERM"

    def command(self, bus: int, out: str) -> str:
        self._before = self._text_lost(bus)
        return f"cat /sys/kernel/debug/usb/usbmon/{bus}u >{out}"

    def count_lost(self) -> int:
        return self._text_lost(self.bus) - self._before

    def _text_lost(self, bus: int) -> int:
        return int(self.guest.check(f"cat {STAT.format(bus)}").split()[5])


class GetX(Recorder):
    """The ioctl of the same name, an event a call."""

    suffix = "bin"
    format = "bin"
    says = "reading"

    def command(self, bus: int, out: str) -> str:
        shutil.copy(Path(__file__).parent / "collect.py", self.guest.share)
        return f"python3 /host/collect.py {out} {bus}"

    def stop(self) -> None:
        self.guest.check(f"touch {self.out}.stop")
        self.done = self.running.wait()
        assert self.done.returncode == 0, self.done.output
        self.lost = int(self.guest.check(f"cat {self.out}.stats"))


class Usbmon(Recorder):
    """Ours, by one of its ways."""

    says = '"progress"'  # the first line of JSON comes when it reads
    # What has not all fields is written as what says so: pcapng would have zeros.
    _files = {"read": ("bin48", "bin48"), "text": ("txt", None)}  # noqa: RUF012

    def __init__(self, way: str = "mmap", *options: str) -> None:
        self.way = way
        self.suffix, self.format = self._files.get(way, ("pcapng", None))
        self._options = " ".join(options)

    @property
    def name(self) -> str:
        return f"Usbmon-{self.way}"

    def command(self, bus: int, out: str) -> str:
        words = f"--by {self.way} --no-describe --json {self._options}"
        return f"usbmon capture {bus} {words} -o {out} --force"

    def start(self, guest: Guest, bus: int) -> None:
        self.guest, self.bus = guest, bus
        self.out = f"/tmp/{self.name}{id(self)}.{self.suffix}"
        self.running = guest.start(self.command(bus, self.out))
        guest.wait_for(f"grep -q '{self.says}' {self.running.file}", seconds=60)

    def stop(self) -> None:
        self.done = self.running.stop("INT")
        assert self.done.returncode == 0, self.done.output
        self.summary = json.loads(self.done.output.splitlines()[-1])
        assert self.summary["type"] == "summary"
        self.lost = self.summary["dropped"]


class UsbmonText(Usbmon):
    """By the text file."""

    def __init__(self) -> None:
        super().__init__("text")


class Recording:
    """A context: all the recorders read the bus inside it. At its end, the bus comes to rest."""

    def __init__(self, guest: Guest, bus: int, *recorders: Recorder) -> None:
        self.guest, self.bus, self.recorders = guest, bus, recorders

    def __enter__(self) -> Self:
        seen = self.guest.quiet(self.bus)
        self._seen = []
        for recorder in self.recorders:
            self._seen.append(seen)
            recorder.start(self.guest, self.bus)
            # The controller may be new, and tcpdump asks all devices for their descriptors.
            seen = self.guest.quiet(self.bus)
        self._start = seen
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.count = self.guest.quiet(self.bus) - self._start
        for recorder in self.recorders:
            recorder.stop()
        if kind is None:
            for recorder, seen in zip(self.recorders, self._seen, strict=True):
                recorder.read()
                recorder.events = recorder.events[self._start - seen :]

    def check(self) -> None:
        """All recorders have the events that the kernel counted, the same ones."""
        assert self.count > 0
        have = {recorder.name: (len(recorder.events), recorder.lost) for recorder in self.recorders}
        assert all(sum(pair) == self.count for pair in have.values()), (self.count, have)
        text = [recorder for recorder in self.recorders if isinstance(recorder, (Text, UsbmonText))]
        binary = [recorder for recorder in self.recorders if recorder not in text]
        first = binary[0]
        for one, other in [(each, first) for each in text] + [(first, each) for each in binary[1:]]:
            same_events(one.events, other.events, lost=one.lost + other.lost)


def same_events(one: Events, other: Events, *, lost: int = 0) -> None:
    """Both have the same events, none missing and none doubled, but for those that were `lost`.
    Of a text and a binary reader, the text one comes first."""
    assert abs(len(one) - len(other)) <= lost
    assert readers.differences(one, other) == []
