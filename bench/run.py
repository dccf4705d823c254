#!/usr/bin/env python3
"""Measures usbmon against its peers and prints the ratios, with their targets.

Whole processes, run in turn (ours, peer, ours, peer, …), medians of five or more.
CPU is user plus system time of the child, wall the time from start to the end
of its output, memory the child's highest resident set; all from wait4(2).
Exits 1 if a target is missed, 2 if it cannot measure.

This file stays small and imports no NumPy: a child's peak memory starts at
that of the process that spawned it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
SIZES = ("200k", "2m", "20m")
EVENTS_2M, EVENTS_20M = 2_000_000, 20_000_000
TEXT_DATA = 32  # bytes of payload that a text line carries
PCAP_DATA = 256  # and that a record of the generated pcap carries at most
BYTES_AN_EVENT = 210  # text and pcap of an event, for the room they need
MEMORY_MB = 60
MB = 1_000_000
# Short commands are repeated until they fill this time or reach this count.
FILL_SECONDS, MOST_ROUNDS = 3.0, 21


class BenchError(Exception):
    """The benchmark cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Sample:
    """One run of one process."""

    cpu: float
    wall: float
    rss: float  # MB


@dataclass(frozen=True)
class Command:
    """A process to measure: where its output goes, and what it reads."""

    argv: tuple[str, ...]
    piped: bool = False  # into `cat >/dev/null`, else straight to /dev/null
    timezone: str | None = None  # TZ, else what the caller's environment has

    def run(self) -> Sample:
        """One measured run.  A command that fails has no speed."""
        with tempfile.TemporaryFile() as errors:
            began = time.perf_counter()
            child = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.piped else subprocess.DEVNULL,
                stderr=errors,
                env=None if self.timezone is None else {**os.environ, "TZ": self.timezone},
            )
            reader = None
            if self.piped:
                # A process of its own: its CPU is not ours, its speed not Python's.
                reader = subprocess.Popen(["cat"], stdin=child.stdout, stdout=subprocess.DEVNULL)
                assert child.stdout is not None
                child.stdout.close()
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            if reader is not None:
                reader.wait()
            wall = time.perf_counter() - began
            if child.returncode != 0:
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines()
                reason = lines[-1] if lines else "no message"
                shown = " ".join([Path(self.argv[0]).name, *self.argv[1:]])
                raise BenchError(f"{shown}: exit {child.returncode}: {reason}")
        return Sample(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024 / MB)


@dataclass
class Runs:
    """The samples of one command."""

    samples: list[Sample] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        return statistics.median(each.cpu for each in self.samples)

    @property
    def wall(self) -> float:
        return statistics.median(each.wall for each in self.samples)

    @property
    def rss(self) -> float:
        return max(each.rss for each in self.samples)


@dataclass
class Result:
    """A line of the table."""

    what: str
    ours: str
    peer: str = ""
    ratio: str = ""
    target: str = ""
    verdict: str = ""  # pass, MISS, or empty where there is no target

    @property
    def missed(self) -> bool:
        return self.verdict == "MISS"


@dataclass
class Line:
    """A line of the table that is still to be measured."""

    what: str
    judge: Callable[[str, dict[str, Runs]], Result]


@dataclass
class Group:
    """Commands that run in turn, and the lines their runs answer."""

    commands: dict[str, Command]
    lines: list[Line]
    rounds: int | None = None  # None: as the command line says
    before: Callable[[], None] | None = None
    needs: str = ""  # the peer without which the group is passed over


# --- judging -------------------------------------------------------------------------


def seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 0.0995 else f"{value:.3f} s"


def verdict(good: bool) -> str:
    return "pass" if good else "MISS"


def at_most(
    metric: str, ours: str, peer: str, limit: float | None
) -> Callable[[str, dict[str, Runs]], Result]:
    """Ours costs at most `limit` times the peer; below 1 it prints as a fraction."""

    def judge(what: str, runs: dict[str, Runs]) -> Result:
        mine, other = getattr(runs[ours], metric), getattr(runs[peer], metric)
        ratio = mine / other
        fraction = limit is not None and limit < 1
        shown = f"1/{other / mine:.1f}" if fraction or ratio < 0.5 else f"{ratio:.2f} x"
        target = "" if limit is None else f"<= 1/{1 / limit:.0f}" if fraction else f"<= {limit:g} x"
        good = "" if limit is None else verdict(ratio <= limit)
        return Result(what, seconds(mine), seconds(other), shown, target, good)

    return judge


def faster(
    metric: str, ours: str, peer: str, limit: float | None
) -> Callable[[str, dict[str, Runs]], Result]:
    """The peer takes at least `limit` times as long."""

    def judge(what: str, runs: dict[str, Runs]) -> Result:
        mine, other = getattr(runs[ours], metric), getattr(runs[peer], metric)
        target = "" if limit is None else f">= {limit:g} x"
        good = "" if limit is None else verdict(other / mine >= limit)
        shown = f"{other / mine:.2f} x faster"
        return Result(what, seconds(mine), seconds(other), shown, target, good)

    return judge


def under_time(ours: str, limit: float) -> Callable[[str, dict[str, Runs]], Result]:
    def judge(what: str, runs: dict[str, Runs]) -> Result:
        mine = runs[ours].wall
        return Result(
            what,
            seconds(mine),
            target=f"< {limit * 1000:.0f} ms",
            verdict=verdict(mine < limit),
        )

    return judge


def under_memory(ours: str) -> Callable[[str, dict[str, Runs]], Result]:
    def judge(what: str, runs: dict[str, Runs]) -> Result:
        peak = runs[ours].rss
        return Result(
            what,
            f"{peak:.1f} MB",
            target=f"< {MEMORY_MB} MB",
            verdict=verdict(peak < MEMORY_MB),
        )

    return judge


def rate(ours: str, source: Path, limit: float | None) -> Callable[[str, dict[str, Runs]], Result]:
    """Megabytes of input a second of wall time."""

    def judge(what: str, runs: dict[str, Runs]) -> Result:
        speed = source.stat().st_size / MB / runs[ours].wall
        good = "" if limit is None else verdict(speed >= limit)
        target = "" if limit is None else f">= {limit:.0f} MB/s"
        return Result(what, seconds(runs[ours].wall), "", f"{speed:.0f} MB/s", target, good)

    return judge


# --- what is measured ----------------------------------------------------------------


@dataclass
class Bench:
    """The files, the command, and the groups of lines that belong together."""

    usbmon: str
    cache: Path
    out: Path
    sizes: list[str]
    pcap_data: int = TEXT_DATA

    def trace(self, size: str, suffix: str) -> Path:
        """The file's name, as generate.py gives it."""
        variant = "" if self.pcap_data == TEXT_DATA else f"-d{self.pcap_data}"
        return self.cache / f"{size}{variant}.{suffix}"

    def ours(self, *words: str | Path, piped: bool = False) -> Command:
        return Command((self.usbmon, *map(str, words)), piped)

    def groups(self) -> Iterator[Group]:
        yield from self.start()
        for size in self.sizes:
            text, pcap = self.trace(size, "txt"), self.trace(size, "pcap")
            yield self.info_text(size, text)
            yield self.info_pcap(size, pcap)
            if events(size) == EVENTS_2M:
                yield self.tshark(size, text, pcap)
            yield from self.show(size, text, pcap)
            yield from self.converts(size, text, pcap)

    def start(self) -> Iterator[Group]:
        """The help, and a trace of ten lines."""
        ten = self.cache / "ten.txt"
        for what, command, limit in (
            ("usbmon --help, wall", self.ours("--help"), 0.1),
            ("info, ten lines, wall", self.ours("info", ten), 0.2),
            ("show, ten lines, wall", self.ours("show", ten, piped=True), 0.2),
        ):
            yield Group({"ours": command}, [Line(what, under_time("ours", limit))])

    def info_text(self, size: str, text: Path) -> Group:
        count = events(size)
        cpu = {EVENTS_2M: 15.0, EVENTS_20M: 10.0}.get(count)
        told = self.ours("info", "--json", text)
        wall = 6.0 if count == EVENTS_20M and (os.cpu_count() or 1) > 1 else None
        lines = [
            Line(f"info text {size} / wc -l, CPU", at_most("cpu", "ours", "wc", cpu)),
            Line(f"info text {size} / wc -l, wall", at_most("wall", "ours", "wc", wall)),
            Line(f"info text {size}, peak memory", under_memory("ours")),
            Line(f"info text {size}, all events", event_count(told, events(size))),
        ]
        commands = {"ours": self.ours("info", text), "wc": Command(("wc", "-l", str(text)))}
        return Group(commands, lines)

    def info_pcap(self, size: str, pcap: Path) -> Group:
        told = self.ours("info", "--json", pcap)
        cpu = 4.0 if events(size) == EVENTS_20M else None
        lines = [
            Line(f"info pcap {size} / cat, CPU", at_most("cpu", "ours", "cat", cpu)),
            Line(f"info pcap {size} / cat, wall", at_most("wall", "ours", "cat", None)),
            Line(f"info pcap {size}, peak memory", under_memory("ours")),
            Line(f"info pcap {size}, all events", event_count(told, events(size))),
        ]
        commands = {"ours": self.ours("info", pcap), "cat": Command(("cat", str(pcap)))}
        return Group(commands, lines)

    def tshark(self, size: str, text: Path, pcap: Path) -> Group:
        lines = [
            Line(f"info text {size} / tshark, CPU", at_most("cpu", "text", "tshark", 1 / 20)),
            Line(f"info pcap {size} / tshark, CPU", at_most("cpu", "pcap", "tshark", 1 / 25)),
        ]
        commands = {
            "text": self.ours("info", text),
            "pcap": self.ours("info", pcap),
            "tshark": Command(("tshark", "-q", "-z", "endpoints,usb", "-r", str(pcap))),
        }
        return Group(commands, lines, needs="tshark")

    def show(self, size: str, text: Path, pcap: Path) -> Iterator[Group]:
        ours = {
            "text": self.ours("show", text, piped=True),
            "pcap": self.ours("show", pcap, piped=True),
        }
        memory = [
            Line(f"show {kind} {size}, peak memory", under_memory(kind))
            for kind in ("text", "pcap")
        ]
        if events(size) > EVENTS_2M:  # the peer would take minutes, and says nothing new
            yield Group(ours, memory, rounds=1)
            return
        limit = 3.0 if events(size) == EVENTS_2M else None
        # Without TZ the C library looks at /etc/localtime for every line that
        # tcpdump prints, which can be most of its time.  The target is for the
        # command as people type it; the line after shows it at its best.
        argv = ("tcpdump", "-n", "-r", str(pcap))
        peers = {
            "tcpdump": Command(argv, piped=True),
            "tcpdump with TZ": Command(argv, piped=True, timezone="UTC"),
        }
        lines = [
            Line(
                f"show {kind} {size} / {peer}, {metric}",
                faster(metric.lower(), kind, peer, limit if peer == "tcpdump" else None),
            )
            for kind in ours
            for peer in peers
            for metric in ("CPU", "wall")
        ]
        lines += memory
        lines += [
            Line(f"show {kind} {size}, a line an event", line_count(ours[kind], events(size)))
            for kind in ours
        ]
        yield Group({**ours, **peers}, lines, needs="tcpdump")

    def converts(self, size: str, text: Path, pcap: Path) -> Iterator[Group]:
        count = events(size)
        limit = 300.0 if count == EVENTS_2M else None
        pcapng = self.out / f"{size}.pcapng"

        def make_pcapng() -> None:
            if not pcapng.exists():
                self.ours("convert", pcap, pcapng, "--force").run()

        for source, suffix in (
            (text, "pcap"),
            (text, "pcapng"),
            (pcap, "txt"),
            (pcap, "pcapng"),
            (pcapng, "pcap"),
        ):
            kind = "text" if source is text else source.suffix[1:]
            what = f"convert {kind} to {'text' if suffix == 'txt' else suffix} {size}"
            target = self.out / f"converted.{suffix}"
            lines = [Line(f"{what}, peak memory", under_memory("ours"))]
            if count <= EVENTS_2M:
                lines.insert(0, Line(f"{what}, wall", rate("ours", source, limit)))
            if source is pcap and suffix == "txt":
                lines.append(Line(f"{what}, same bytes", same_bytes(target, text)))
            yield Group(
                {"ours": self.ours("convert", source, target, "--force")},
                lines,
                rounds=1 if count > EVENTS_2M else None,
                before=make_pcapng if source is pcapng else None,
            )
            target.unlink(missing_ok=True)
        pcapng.unlink(missing_ok=True)


def line_count(command: Command, expected: int) -> Callable[[str, dict[str, Runs]], Result]:
    """Speed without the work is none: the lines are counted once."""

    def judge(what: str, _runs: dict[str, Runs]) -> Result:
        with subprocess.Popen(command.argv, stdout=subprocess.PIPE) as shown:
            wc = subprocess.run(["wc", "-l"], stdin=shown.stdout, capture_output=True, check=True)
        count = int(wc.stdout)
        return Result(what, f"{count}", target=f"{expected}", verdict=verdict(count == expected))

    return judge


def event_count(command: Command, expected: int) -> Callable[[str, dict[str, Runs]], Result]:
    """The number of events stands somewhere in what `info --json` says."""

    def judge(what: str, _runs: dict[str, Runs]) -> Result:
        said = subprocess.run(command.argv, capture_output=True, text=True, check=False).stdout
        good = re.search(rf"\b{expected}\b", said) is not None
        shown = "counted" if good else "not told"
        return Result(what, shown, target=f"{expected}", verdict=verdict(good))

    return judge


def same_bytes(made: Path, expected: Path) -> Callable[[str, dict[str, Runs]], Result]:
    """The generator's clocks differ by whole turns of the text's, so that the
    text made from its pcap is the text it wrote itself."""

    def judge(what: str, _runs: dict[str, Runs]) -> Result:
        same = subprocess.run(["cmp", "-s", str(made), str(expected)], check=False).returncode == 0
        return Result(what, "same" if same else "differ", target="same", verdict=verdict(same))

    return judge


# --- running -------------------------------------------------------------------------


def events(size: str) -> int:
    """200k, 2m → events, as generate.py names its files."""
    unit = {"k": 1_000, "m": 1_000_000}.get(size[-1:], 1)
    return int(size.rstrip("km")) * unit


def measure(group: Group, rounds: int) -> dict[str, Runs]:
    """Runs the commands in turn, after one run each that does not count."""
    runs = {name: Runs() for name in group.commands}
    if (group.rounds or rounds) > 1:
        for command in group.commands.values():
            command.run()
    began, done = time.perf_counter(), 0
    while done < (group.rounds or rounds) or (
        group.rounds is None and done < MOST_ROUNDS and time.perf_counter() - began < FILL_SECONDS
    ):
        for name, command in group.commands.items():
            runs[name].samples.append(command.run())
        done += 1
    return runs


def lines_of(group: Group, only: str) -> list[Line]:
    return [line for line in group.lines if re.search(only, line.what)]


def results(
    bench: Bench, only: str, rounds: int, samples: dict[str, list[dict[str, float]]]
) -> Iterator[Result]:
    """Measures group by group; a failing command is a miss of all its lines."""
    for group in bench.groups():
        lines = lines_of(group, only)
        if not lines:
            continue
        if group.needs and not shutil.which(group.needs):
            yield from (Result(line.what, "", f"no {group.needs}") for line in lines)
            continue
        try:
            if group.before:
                group.before()
            runs = measure(group, rounds)
        except (BenchError, OSError) as error:
            print(f"bench: {error}", file=sys.stderr)
            yield from (Result(line.what, "failed", verdict="MISS") for line in lines)
            continue
        for name, each in runs.items():
            command = group.commands[name]
            key = " ".join(Path(word).name for word in command.argv)
            key = f"TZ={command.timezone} {key}" if command.timezone else key
            samples.setdefault(key, []).extend(vars(sample) for sample in each.samples)
        yield from (line.judge(line.what, runs) for line in lines)


def prepare(bench: Bench) -> None:
    """Makes the traces that are missing and reads them into the page cache."""
    missing = [size for size in bench.sizes if not bench.trace(size, "json").exists()]
    room = BYTES_AN_EVENT * sum(map(events, missing))
    if shutil.disk_usage(bench.cache).free < room * 1.1:
        raise BenchError(
            f"the traces need {room / 1e9:.1f} GB in {bench.cache}:"
            " free some room, or give --cache or smaller --sizes"
        )
    command = [sys.executable, str(HERE / "generate.py"), "--cache", str(bench.cache)]
    command += ["--pcap-data", str(bench.pcap_data)]
    # Also where nothing is missing: it checks that the files are whole and of its version.
    made = subprocess.run([*command, *bench.sizes], stdout=subprocess.DEVNULL, check=False)
    if made.returncode != 0:
        raise BenchError("generate.py failed (it needs NumPy): see above")
    first = bench.trace(bench.sizes[0], "txt")
    with first.open("rb") as text:
        (bench.cache / "ten.txt").write_bytes(b"".join(next(text) for _ in range(10)))
    for size in bench.sizes:
        for suffix in ("txt", "pcap"):
            Command(("cat", str(bench.trace(size, suffix)))).run()


def output_folder(cache: Path, sizes: list[str]) -> Path:
    """Where converted files go: memory if it has room, so that the disk is not measured."""
    room = 2 * BYTES_AN_EVENT * max(map(events, sizes))
    memory = Path("/dev/shm")
    try:
        roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 * room
    except OSError:
        roomy = False
    return Path(tempfile.mkdtemp(prefix="usbmon-bench-", dir=memory if roomy else cache))


def facts(usbmon: str) -> dict[str, str]:
    """The machine and the versions that the numbers hold for."""
    try:
        cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        cpu = None
    run = subprocess.run([usbmon, "--version"], capture_output=True, text=True, check=False)
    version = (run.stdout or run.stderr or "no version").strip().splitlines()[0]
    load = os.getloadavg()[0]
    return {
        "cpu": f"{os.cpu_count()} x {cpu.group(1) if cpu else platform.machine()}",
        "python": f"Python {platform.python_version()}",
        "linux": f"Linux {platform.release()}",
        "usbmon": version,
        "load": f"load {load:.1f}",
    }


def row(result: Result) -> str:
    return (
        f"{result.what:<39} {result.ours:>10} {result.peer:>10} {result.ratio:>14}"
        f" {result.target:>12}  {result.verdict or '-'}"
    )


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    beside = Path(sys.executable).with_name("usbmon")
    parser.add_argument("--usbmon", default=str(beside), metavar="PATH", help="the command")
    parser.add_argument("--sizes", default=",".join(SIZES), help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="200k only")
    parser.add_argument("--only", default="", metavar="PATTERN", help="lines that match")
    parser.add_argument("--rounds", type=int, default=5, help="at least (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every sample, for later")
    parser.add_argument("--cache", type=Path, default=HERE / ".cache", metavar="DIR")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where converted files go")
    parser.add_argument(
        "--pcap-data",
        type=int,
        default=PCAP_DATA,
        metavar="BYTES",
        help="most data of an event in the pcap (default: %(default)s; the text has 32)",
    )
    chosen = parser.parse_args()
    chosen.sizes = ["200k"] if chosen.quick else chosen.sizes.lower().replace("_", "").split(",")
    for size in chosen.sizes:
        if not re.fullmatch(r"[1-9][0-9]*[km]", size):
            parser.error(f"--sizes: {size!r} is no size: say 200k, 2m or 20m")
    try:
        re.compile(chosen.only)
    except re.error as error:
        parser.error(f"--only: {error}")
    return chosen


def run(chosen: argparse.Namespace) -> int:
    if shutil.which(chosen.usbmon) is None:
        raise BenchError(f"{chosen.usbmon} cannot be run: install the package, or give --usbmon")
    made = None
    if chosen.out is None:
        chosen.out = made = output_folder(chosen.cache, chosen.sizes)
    bench = Bench(chosen.usbmon, chosen.cache, chosen.out, chosen.sizes, chosen.pcap_data)
    samples: dict[str, list[dict[str, float]]] = {}
    table: list[Result] = []
    try:
        prepare(bench)
        machine = facts(chosen.usbmon)
        print(" | ".join(machine.values()))
        head = Result("what", "ours", "peer", "ratio", "target", "verdict")
        print(row(head), flush=True)
        for result in results(bench, chosen.only, chosen.rounds, samples):
            table.append(result)
            print(row(result), flush=True)
    finally:
        if made:
            shutil.rmtree(made, ignore_errors=True)
    if chosen.json:
        report = {"machine": machine, "lines": [vars(each) for each in table], "samples": samples}
        chosen.json.write_text(json.dumps(report, indent=1) + "\n")
    missed = [result.what for result in table if result.missed]
    judged = sum(bool(result.verdict) for result in table)
    print(f"{judged - len(missed)} of {judged} targets met")
    for what in missed:
        print(f"missed: {what}")
    return 1 if missed or not table else 0


def main() -> int:
    chosen = options()
    try:
        chosen.cache.mkdir(parents=True, exist_ok=True)
        return run(chosen)
    except (BenchError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
