"""``usbmon doctor``: whether capture works here and, if not, what to do.

Here: the findings as a list for people and as JSON. Not here: the looking and what it means
(`usbmon.sources.doctor`).
"""

from __future__ import annotations

import re
import sys
import textwrap
from typing import TYPE_CHECKING, Any, Final

import click

from usbmon.apps.cli import _common
from usbmon.sources.doctor import GROUP, OK, PROBLEM, WARNING, examine, specs, udev_rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbmon.sources.doctor import Finding

_SIGNS: Final = {
    OK: ("✓ ok", "green"),
    WARNING: ("! warn", "yellow"),
    PROBLEM: ("✗ problem", "red"),
}
_WIDTH: Final = 80
_INDENT: Final = 24


class _Group(click.ParamType[str]):
    """The name of a group, as groupadd(8) takes it: it goes into a rule and into commands."""

    name = "group"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", str(value)):
            self.fail(
                f"{value!r} is no name of a group; it has the letters a-z 0-9 _ -", param, ctx
            )
        return str(value)


@click.command("doctor")
@click.option(
    "--udev-rule",
    "rule",
    is_flag=True,
    help="Print the rule of udev that lets a group capture, and nothing else.",
)
@click.option(
    "--group",
    type=_Group(),
    default=GROUP,
    metavar="NAME",
    show_default=True,
    help="The group that is to capture.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON: one object.")
def command(*, rule: bool, group: str, as_json: bool) -> int:
    """Say whether the buses of this machine can be captured, and if not, what to do.

    Looks, and changes nothing: each command that is to be run is printed. The exit code is 0 where
    capture works, and 1 where it does not.

    \b
    Examples:
      usbmon doctor
      usbmon doctor --udev-rule | sudo tee /etc/udev/rules.d/99-usbmon.rules
      usbmon doctor --json | jq -r '.findings[].commands[]'
    """
    if rule:
        click.echo(udev_rule(group), nl=False)
        return 0
    findings = examine(group=group)
    works = specs()
    if as_json:
        import json

        told = [finding._asdict() for finding in findings]
        click.echo(json.dumps({"works": bool(works), "specs": works, "findings": told}, indent=2))
    else:
        colour = _common.use_colour(sys.stdout)
        for line in report(findings, works):
            click.echo(line if colour else click.unstyle(line), color=colour)
    return 0 if works else 1


def report(findings: list[Finding], works: list[str]) -> Iterator[str]:
    """What was found, what is to be done, and the verdict."""
    width = min(_WIDTH, _common.width(sys.stdout) or _WIDTH)
    for finding in findings:
        sign, colour = _SIGNS[finding.state]
        head = f"{click.style(f'{sign:<9}', fg=colour)}  {finding.id:<11}"
        lines = _wrapped(finding.words, width - _INDENT)
        yield f"{head}  {lines[0]}"
        yield from (" " * _INDENT + line for line in lines[1:])
    if any(finding.state != OK for finding in findings):
        yield from ("", click.style("What to do", bold=True))
        yield from _to_do(findings, width)
    yield ""
    yield from _wrapped(_verdict(works), width)


def _to_do(findings: list[Finding], width: int) -> Iterator[str]:
    """Problems first, in their order, then what is not needed. A command that does not fit is not
    broken: it is there to be copied."""
    for state in (PROBLEM, WARNING):
        for finding in findings:
            if finding.state == state and (finding.why or finding.commands):
                where = f"Run {finding.where}:" if finding.where else ""
                words = " ".join(filter(None, (f"{finding.id}:", finding.why, where)))
                yield ""
                yield from ("  " + line for line in _wrapped(words, width - 2))
                yield from (click.style(f"    {line}", bold=True) for line in finding.commands)


def _verdict(works: list[str]) -> str:
    if not works:
        return "capture does not work here yet; `usbmon capture virtual:flash` needs no kernel"
    first, *others = works
    also = [spec for spec in others if not spec.startswith("text:")]
    more = f" (or {', '.join(also)})" if also else ""
    return f"capture works: `usbmon capture {first}`{more}"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
