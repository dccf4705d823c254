import os

import pytest

from tests.helpers.command import process


@pytest.mark.parametrize(
    ("shell", "mark"),
    [("bash", "complete -o nosort"), ("zsh", "#compdef usbmon"), ("fish", "complete --no-files")],
)
def test_each_shell_gets_a_script_that_asks_the_command(usbmon, shell, mark):
    script = usbmon("completion", shell).out
    assert mark in script
    assert "_USBMON_COMPLETE" in script


def test_another_shell_is_wrong_usage(usbmon):
    assert "'csh' is not one of 'bash', 'zsh', 'fish'" in usbmon("completion", "csh", code=2).err


def test_the_help_says_where_to_put_it(usbmon):
    assert """eval "$(usbmon completion bash)"' >> ~/.bashrc""" in usbmon("completion", "-h").out


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("'dev == 1:5 and sta", ["dev == 1:5 and status", "dev == 1:5 and start_frame"]),
        ("'type == b", ["type == bulk"]),
        ("stat", ["status"]),
    ],
)
@pytest.mark.parametrize("command", ["show -F", "info --filter", "convert -F", "filter"])
def test_a_filter_is_completed_within_its_quotes(command, typed, completed):
    place = {"_USBMON_COMPLETE": "bash_complete", "COMP_CWORD": str(len(command.split()) + 1)}
    said = process(env={**os.environ, **place, "COMP_WORDS": f"usbmon {command} {typed}"})
    assert said.stdout.decode().splitlines() == [f"plain,{text}" for text in completed]
