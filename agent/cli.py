"""`gatepost`: what a person types. Each command lives in `agent.commands` and is imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator

import click

from agent.errors import GatepostError

COMMANDS = {
    "run": "run:run",
}


class Lazy(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table, which is the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import it."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"agent.commands.{module}"), name)
        return command


@click.group(cls=Lazy)
def gatepost() -> None:
    """Gatepost posts what the shop floor reports to the ERP, exactly once."""


def main() -> None:
    """The command of the console; a deliberate error is one clear line and an exit code, never a traceback."""
    try:
        gatepost(prog_name="gatepost")
    except* GatepostError as group:
        errors = list(leaves(group))
        for error in errors:
            click.echo(f"{error}", err=True)
        sys.exit(errors[0].exit_code)


def leaves(group: BaseExceptionGroup[GatepostError]) -> Iterator[GatepostError]:
    """The errors themselves, without the groups a TaskGroup wraps around them."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
