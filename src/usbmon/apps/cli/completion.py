"""``usbmon completion``: the script that lets a shell complete commands, options and files."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that makes bash, zsh or fish complete commands, options and files.

    \b
    To have it in every new shell:
      bash   echo 'eval "$(usbmon completion bash)"' >> ~/.bashrc
      zsh    echo 'eval "$(usbmon completion zsh)"' >> ~/.zshrc
      fish   usbmon completion fish > ~/.config/fish/completions/usbmon.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    root = ctx.find_root().command
    click.echo(kind(root, {}, "usbmon", "_USBMON_COMPLETE").source())
