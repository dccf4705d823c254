import pytest


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
