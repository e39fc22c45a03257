"""`gatepost selfcheck`, `token` and `version`: is this box fit, who may use the API, what runs here."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import asdict
from json import dumps as json_text

import click
from pydantic import ValidationError

from agent import __version__
from agent import selfcheck as checks
from agent.access.tokens import Scope, Token
from agent.commands import show
from agent.commands.place import Place, as_json, at_place
from agent.errors import GatepostError


@click.command()
@click.option(
    "--writes",
    type=click.IntRange(1, 100_000),
    default=200,
    show_default=True,
    help="How many writes the disk is timed with.",
)
@click.option("--hashes", is_flag=True, help="Print only the SHA-256 of each file that decides, as sha256sum does.")
@at_place
@as_json
def selfcheck(*, writes: int, hashes: bool, place: Place, json: bool) -> None:
    """Is this box fit? Versions, hashes, permissions, disk and clock, each with what to do.

    What is not right comes first. --hashes prints the files that decide (the configuration, mappings, units, keys and
    models) instead, to compare with what was released; --json has both. Exit code 1 when something fails.
    """
    rows = rows_of(place, writes)
    if hashes and not json:
        _hashes(rows)
        return
    if json:
        show.data([asdict(row) for row in rows])
    else:
        _print(rows)
    worst = checks.worst(rows)
    if worst is checks.Level.FAIL:
        failed = sum(row.level is worst for row in rows)
        raise GatepostError(f"{failed} of {len(rows)} checks failed; what to do stands with each")


def _print(rows: list[checks.Row]) -> None:
    """What is not right, the worst first, its advice in one piece to be copied; then what is."""
    for level in (checks.Level.FAIL, checks.Level.WARN):
        for row in rows:
            if row.level is level:
                show.say(f"{level}  {row.topic} {row.name}: {row.value}\n    {row.advice}")
    right = [row for row in rows if row.level is checks.Level.OK and row.topic != "hash"]
    show.entries(["", "", "", ""], [([row.level, row.topic, row.name, row.value], []) for row in right])


def _hashes(rows: list[checks.Row]) -> None:
    for row in rows:
        if row.topic == "hash" and row.level is checks.Level.OK:
            show.say(f"{row.value}  {row.name}")


def rows_of(place: Place, writes: int = 200) -> list[checks.Row]:
    """The facts about this box, for the configuration's folders."""
    kept = place.secrets_dir
    return checks.selfcheck(
        config=place.file,
        data=place.path.parent,
        models=place.models,
        beside=[one for one in (place.mappings, place.units, place.model_keys) if one.exists()],
        secrets=sorted(kept.iterdir()) if kept and kept.is_dir() else (),
        writes=writes,
    )


@click.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", type=click.Choice([one.value for one in Scope]), multiple=True, required=True,
    help="What its bearer may do; give it several times for several.",
)  # fmt: skip
@click.option("--line", "lines", multiple=True, help="Only for this line; give it several times.  [default: all]")
def token(*, name: str, scopes: tuple[str, ...], lines: tuple[str, ...]) -> None:
    """Make an API token; it is shown once, the configuration keeps only its hash.

    \b
    Example:
      gatepost token hmi-3 --scope read --scope approve --line mixing
    """
    made = secrets.token_urlsafe(32)
    digest = hashlib.sha256(made.encode()).hexdigest()
    try:
        Token(name=name, sha256=digest, scopes=tuple(map(Scope, scopes)), lines=lines)
    except ValidationError as error:
        raise click.UsageError(f"NAME: {error.errors()[0]['msg']}") from None
    limit = f", lines: {json_text(lines)}" if lines else ""
    show.say(f"token of {name} (give it to nobody else; it cannot be shown again):\n\n  {made}\n")
    show.say("paste this below api: in the configuration, then `gatepost check` and reload (SIGHUP):\n")
    signs = f", signing_secret: {{secret: {name}_signing}}" if Scope.GATEWAY in scopes else ""
    show.say(f"  tokens:\n    - {{name: {name}, sha256: {digest}, scopes: [{', '.join(scopes)}]{limit}{signs}}}")
    if signs:
        show.say(f"\nits signing secret, for the file {name}_signing among the secrets and for the gateway itself:\n")
        show.say(f"  {secrets.token_hex(32)}")


@click.command()
@as_json
def version(*, json: bool) -> None:
    """Print the versions of the agent and of what its promise rests on."""
    rows = [*checks.versions(), checks.sqlite_row()]
    if json:
        show.data({row.name: row.value for row in rows})
    else:
        show.say(f"gatepost {__version__}")
        for row in rows[1:]:
            show.say(f"  {row.name} {row.value}")
