"""`gatepost backup`, `restore` and `recover`: the store's file is copied, put back, rescued."""

from __future__ import annotations

import sys
from pathlib import Path

import apsw
import click

from agent.commands import show
from agent.commands.approvals import YES
from agent.commands.place import Place, at_place, login, now
from agent.errors import GatepostError
from agent.store import backup as copies
from agent.store import rescue as rescues

AFTER = (
    "the next start is in RECONCILE: nothing is posted until you make sure that no other copy of the agent runs and\n"
    "type  gatepost resume target '*' --reason …  ; what was open is looked up in the ERP before it is sent"
)


@click.command()
@click.argument("copy", metavar="FILE", type=click.Path(path_type=Path))
@at_place
def backup(*, copy: Path, place: Place) -> None:
    """Copy the store to FILE, while the agent works; the copy is checked.

    \b
    Example:
      gatepost backup /mnt/backup/gatepost-$(date +%F).db
    """
    place.look(lambda _: None)
    try:
        copies.backup(place.path, copy, now())
    except (OSError, apsw.Error) as error:
        raise GatepostError(f"{copy}: {error}; the backup is not complete, remove it and name another place") from error
    show.say(f"{copy}: {show.size(copy.stat().st_size)}, checked (pages and audit trail)")


@click.command()
@click.argument("copy", metavar="FILE", type=click.Path(path_type=Path))
@YES
@at_place
def restore(*, copy: Path, yes: bool, place: Place) -> None:
    """Put a backup in the store's place; the agent must be stopped.

    The files that were there are set aside, never deleted. A backup does not know what was posted since it was made,
    so the next start is in RECONCILE: posting is off until a person lets it go on.

    \b
    Example:
      gatepost restore /mnt/backup/gatepost-2026-11-19.db
    """
    if not yes and sys.stdin.isatty():
        click.confirm(f"Put {copy} in the place of {place.path}?", abort=True)
    try:
        old = copies.restore(place.path, copy, now())
    except (OSError, apsw.Error) as error:
        raise GatepostError(f"{copy}: {error}") from error
    show.say(f"{place.path} is now {copy}" + (f"; what was there is in {old}" if old else ""))
    show.say(AFTER)


@click.command()
@click.option("--by", default=login, show_default="your login name", help="Who does it; kept in the audit trail.")
@click.option(
    "--reason", prompt=sys.stdin is not None and sys.stdin.isatty(), required=True, help="Why; kept in the audit trail."
)
@YES
@at_place
def recover(*, by: str, reason: str, yes: bool, place: Place) -> None:
    """Save what can be read of a damaged store; the agent must be stopped.

    The damaged files are set aside, never deleted. What can be read goes into a new file; what was lost is counted.
    If there is a good backup that is younger than the damage, `gatepost restore` is better.

    \b
    Example:
      gatepost recover --by "J. Doe" --reason "power cut, disk replaced"
    """
    if not yes and sys.stdin.isatty():
        click.confirm(f"Set {place.path} aside and save what can be read, as {by}?", abort=True)
    try:
        rescue = rescues.recover(place.path, now(), by=by, reason=reason)
    except (OSError, apsw.Error) as error:
        raise GatepostError(f"{place.path}: {error}; nothing could be saved, use a backup: gatepost restore") from error
    show.table(
        ["table", "rows saved", "stretches lost"],
        [[name, rescue.rows[name], rescue.lost[name]] for name in rescue.rows],
    )
    show.say(f"the damaged files are in {rescue.set_aside}")
    if rescue.audit is not None and rescue.audit.broken_at is not None:
        show.say(f"the audit trail has a hole at row {rescue.audit.broken_at}: {rescue.audit.why}")
    show.say(AFTER)
