"""`gatepost`: what a person types. Each command lives in `agent.commands` and is imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import TypeVar

import click

from agent import __version__
from agent.errors import GatepostError

E = TypeVar("E", bound=Exception)
HELP = """Gatepost posts what the shop floor reports to the ERP, exactly once.

Reading commands work beside a running agent and without one. Acts go through the running agent's API; when none runs,
straight into its store. Every act is signed with who and why. Times are UTC, as their Z says; the console shows the
plant's clock, and says so.

\b
Exit codes:
  0  ok
  1  refused, not found, not fit, or somebody else was first
  2  the configuration or the command line is wrong
  3  an agent owns the store and cannot be asked
  4  the store or its audit trail is damaged

\b
Something is wrong?  gatepost status, then gatepost deadletter list, gatepost quarantine list, gatepost trace ID.
"""

COMMANDS = {
    "run": ("run:run", "Run the agent until it is told to stop."),
    "check": ("check:check", "Check a configuration: everything that is wrong, at once."),
    "status": ("status:status", "Show what runs, what waits, what needs somebody."),
    "trace": (
        "trace:trace",
        "Show one event's life: message, facts, score, decision, signatures, every try, document.",
    ),
    "replay": ("replay:command", "Compute a decision again from its record: is the answer the same, bit by bit?"),
    "approvals": ("approvals:approvals", "Held postings: list, show, approve, correct, refuse."),
    "advised": ("advised:advised", "List what workflows in mode `advise` would have posted; nothing of it was."),
    "compare": ("compare:compare", "Compare what the agent would have done with what people did."),
    "findings": ("findings:command", "List what reconciliation found and nobody has put right yet, with its evidence."),
    "counts": ("reconciliation:counts", "List what is worth counting, in money; enter what was counted."),
    "follow-on": (
        "follow_on:command",
        "What becomes of a lot that is kept from use for a defect: show each choice with its cost, choose one.",
    ),
    "variance": (
        "reconciliation:variance",
        "What an order took beside its bill of material, with the sentence that explains it.",
    ),
    "deadletter": (
        "deadletter:deadletter",
        "Dead and doubtful postings: list, show, replay, refuse, document, not-booked.",
    ),
    "quarantine": ("quarantine:quarantine", "Quarantined messages: list, show, replay, keep, export."),
    "sequence": (
        "sequence:command",
        "In which order a work centre should make its open orders so that least is late, and why.",
    ),
    "shortages": ("shortages:command", "Which materials run short at their places within two and three hours."),
    "seen": ("control:seen", "Say that a notification was seen: who would be next is not told."),
    "pause": ("control:pause", "Stop sending for a target, a line or an order."),
    "resume": ("control:resume", "Let it go on."),
    "reverse": ("control:reverse", "Take back a booked document, by a posting of its own that you sign."),
    "models": (
        "feedback:models",
        "The models that score: list, verify, explain, train, evaluate, challenge, compare, promote, rollback.",
    ),
    "audit": ("audit:audit", "The audit trail: verify, export, checkpoint."),
    "export": ("export:export", "Write events, postings or the audit trail to FILE, or the tags of Ignition."),
    "cases": ("cases:cases", "Run an integrator's cases: does each event become what is expected?"),
    "backup": ("files:backup", "Copy the store to FILE, while the agent works; the copy is checked."),
    "restore": ("files:restore", "Put a backup in the store's place; the agent must be stopped."),
    "recover": ("files:recover", "Save what can be read of a damaged store; the agent must be stopped."),
    "bundle": ("bundle:bundle", "Make a redacted archive for whoever supports you."),
    "selfcheck": (
        "box:selfcheck",
        "Is this box fit? Versions, hashes, permissions, disk and clock, each with what to do.",
    ),
    "token": ("box:token", "Make an API token; it is shown once, the configuration keeps only its hash."),
    "user": ("user:user", "Who may log in at the console: add, list, remove."),
    "version": ("box:version", "Print the versions of the agent and of what its promise rests on."),
}


class Lazy(click.Group):
    """A group that lists its commands from a table and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import it."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"agent.commands.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=Lazy, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="gatepost")
def gatepost() -> None:
    """See HELP."""


def main() -> None:
    """The command of the console; a deliberate error is one clear line and an exit code, never a traceback."""
    errors: list[GatepostError] = []
    try:
        gatepost(prog_name="gatepost")
    except* GatepostError as group:
        errors += leaves(group)
    except* PermissionError as group:
        errors += (GatepostError(f"{error}; run this as the agent's user") for error in leaves(group))
    for error in errors:
        click.echo(f"{error}", err=True)
    if errors:
        sys.exit(max(error.exit_code for error in errors))


def leaves(group: BaseExceptionGroup[E]) -> Iterator[E]:
    """The errors themselves, without the groups a TaskGroup wraps around them."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
