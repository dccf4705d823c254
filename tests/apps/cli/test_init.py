"""The command as a whole: help, exit codes, pipes and terminals."""

import os
import signal
import subprocess
import sys

import pytest

from tests.helpers import corpus
from tests.helpers.command import on_terminal, process
from usbmon import __version__
from usbmon._kernel import KERNEL
from usbmon.apps.cli import COMMANDS

TEXT = corpus.CAPTURES / "storage-ehci" / "1u.txt"


def test_help_lists_every_command_and_shows_examples(usbmon):
    said = usbmon("--help").out
    assert "Examples:\n    usbmon capture virtual:flash" in said
    for command in COMMANDS:
        assert f"\n  {command} " in said


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(usbmon, command):
    assert usbmon(command, "-h").out.startswith(f"Usage: usbmon {command} ")


def test_version_names_the_kernel(usbmon):
    said = usbmon("--version").out
    assert said.startswith(f"usbmon {__version__} ({KERNEL} kernel, Python 3.")


def test_no_command_is_wrong_usage(usbmon):
    assert "Commands:" in usbmon(code=2).err + usbmon("--help").out


def test_a_file_in_place_of_a_command_is_answered_with_the_command_for_it(usbmon):
    assert f"To look at that file: usbmon show {TEXT}" in usbmon(TEXT, code=2).err
    assert "To look at" not in usbmon("nope", code=2).err


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from usbmon.apps.cli import main; main(['--help'])\n"
        "heavy = {'numpy', 'pyarrow', 'usbmon.files', 'usbmon.summary'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert said.stderr == b"[]\n"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["info", "no such file"], 1, b"usbmon: no such file: no such file\n"),
        (["show", "--nope"], 2, b"Error: No such option"),
        (["info", sys.executable], 3, b"a program (ELF) is no trace that usbmon knows"),
        (["show", "--strict", "-"], 4, b"strict reading refuses what could be mended"),
    ],
    ids=["source", "usage", "format", "strict"],
)
def test_an_error_is_a_line_and_an_exit_code(words, code, says):
    said = process(*words, input=b"> " + TEXT.read_bytes())
    assert said.returncode == code
    assert says in said.stderr
    assert b"Traceback" not in said.stderr


def test_a_reader_that_goes_away_is_no_error():
    with subprocess.Popen(
        [sys.executable, "-m", "usbmon", "show", "-x", *[str(TEXT)] * 30],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(60) == 141


def test_an_interrupt_is_quiet(tmp_path):
    trace = tmp_path / "grows.txt"
    trace.write_bytes(TEXT.read_bytes())
    with subprocess.Popen(
        [sys.executable, "-m", "usbmon", "show", "-f", str(trace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert (child.returncode, err.strip()) == (130, b"")


@pytest.mark.parametrize("words", [["show", TEXT], ["info", TEXT]], ids=lambda words: words[0])
def test_colours_are_for_terminals_without_no_color(words):
    assert b"\x1b[" not in process(*words).stdout
    assert "\x1b[" in on_terminal(*words)[1]
    assert "\x1b[" not in on_terminal(*words, NO_COLOR="1")[1]
    assert "\x1b[" not in on_terminal(*words, TERM="dumb")[1]


def test_what_a_terminal_shows_is_what_a_pipe_gets():
    piped = process("show", TEXT).stdout.decode()
    code, shown = on_terminal("show", TEXT, NO_COLOR="1")
    assert (code, shown) == (0, piped)


@pytest.mark.parametrize("shell", ["bash"])
def test_a_shell_completes_commands_and_options(shell):
    env = {**os.environ, f"_{'USBMON'}_COMPLETE": f"{shell}_complete", "COMP_CWORD": "1"}
    program = "import sys; from usbmon.apps.cli import main; sys.exit(main([]))"
    said = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        env={**env, "COMP_WORDS": "usbmon con"},
        check=False,
    )
    assert said.stdout == b"plain,convert\n"
