"""`gatepost audit`: prove that the trail is whole, write it out, sign where it ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import apsw
import click

from agent import checkpoints
from agent.commands import export as exporting
from agent.commands import show
from agent.commands.place import Place, as_json, at_place, now
from agent.errors import NotFound, StoreCorrupt
from agent.store import archive
from agent.store import audit as trail

LINES = 6  # of one checkpoint


@click.group()
def audit() -> None:
    """The audit trail: verify, export, checkpoint."""


@audit.command()
@click.option("--against", type=click.Path(path_type=Path), help="A file of checkpoints that left the box earlier.")
@click.option(
    "--public-key", type=click.Path(path_type=Path), help="The Ed25519 key (PEM) the checkpoints are signed with."
)
@at_place
@as_json
def verify(*, against: Path | None, public_key: Path | None, place: Place, json: bool) -> None:
    """Recompute the whole chain, archives included; name the first row that does not fit.

    The chain alone shows that no row was changed, removed or inserted. Only checkpoints that left the box show that
    the chain was not rebuilt as a whole or cut at its end: give them with --against, and their public key.
    Exit code 4 when anything does not fit.

    \b
    Example:
      gatepost audit verify --against /mnt/audit/checkpoints.txt --public-key checkpoint.pub
    """
    if public_key and not against:
        raise click.UsageError("--public-key: say with --against which checkpoints it has signed")
    wanted = read_checkpoints(against, public_key) if against else []
    verdict, seen = place.look(
        lambda connection: verify_all(place, connection, {one.seq for one in wanted}, quiet=json)
    )
    problems = [f"row {verdict.broken_at}: {verdict.why}"] if verdict.broken_at is not None else []
    problems += [problem for one in wanted if (problem := differs(one, place, seen, verdict.head.seq))]
    if json:
        show.data({
            "rows": verdict.rows, "head": verdict.head.seq, "hash": verdict.head.hash.hex(),
            "broken_at": verdict.broken_at, "checkpoints": len(wanted), "problems": problems,
        })  # fmt: skip
    elif not problems:
        show.say(f"ok: {verdict.rows} rows, the last is {verdict.head.seq} with hash {verdict.head.hash.hex()}")
        show.say(_held_against(len(wanted), signed=public_key is not None))
    if problems:
        raise StoreCorrupt(
            "\n".join(f"the audit trail is broken: {one}" for one in problems)
            + "\nkeep the file as it is (`gatepost backup` copies would repeat it) and tell whoever answers for records"
        )


@audit.command()
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@exporting.FORMAT
@at_place
def export(*, target: Path, form: str | None, place: Place) -> None:
    """Write the live trail to FILE, with the hashes that chain its rows (the same as `gatepost export audit`)."""
    exporting.write(place, "audit", target, form, None)


@audit.command()
@at_place
def checkpoint(*, place: Place) -> None:
    """Print a signed checkpoint of the trail as it is now; keep it somewhere else."""
    head = place.look(trail.read_head)
    key_file = place.audit.key_file
    if key_file and not key_file.exists():
        raise NotFound(f"there is no key {key_file} yet; the running agent makes it at its first checkpoint")
    key = checkpoints.load_key(key_file) if key_file else None
    click.echo(checkpoints.sign(checkpoints.Checkpoint(place.plant.site, head.seq, head.hash, now()), key), nl=False)


def _held_against(count: int, *, signed: bool) -> str:
    if not count:
        return "no checkpoint was given: a chain that was rebuilt as a whole would not be noticed"
    unproven = "" if signed else "; without --public-key nobody knows who wrote them"
    return f"it contains what {count} checkpoints said{unproven}"


def read_checkpoints(path: Path, public_key: Path | None) -> list[checkpoints.Checkpoint]:
    """Every checkpoint of a file. Raises NotFound, StoreError."""
    try:
        lines = path.read_text(encoding="utf-8").strip().splitlines()
        public = checkpoints.load_public(public_key) if public_key else None
    except (OSError, ValueError) as error:
        raise NotFound(f"cannot read the checkpoints or their key: {error}") from error
    pieces = ["\n".join(lines[at : at + LINES]) for at in range(0, len(lines), LINES)]
    return [checkpoints.read(piece, public) for piece in pieces]


def differs(one: checkpoints.Checkpoint, place: Place, seen: dict[int, bytes], last: int) -> str:
    """How the chain contradicts a checkpoint; empty when it does not."""
    if one.store != place.plant.site:
        return f"the checkpoint of row {one.seq} is of {one.store}, this store is of {place.plant.site}"
    if one.seq > last:
        return f"a checkpoint of {one.at:%Y-%m-%d} says row {one.seq}, the chain ends at {last}: rows were cut off"
    if one.seq in seen and seen[one.seq] != one.hash:
        return f"row {one.seq} is not what the checkpoint of {one.at:%Y-%m-%d} says: the chain was rebuilt"
    if one.seq not in seen and one.seq:
        return f"row {one.seq} of a checkpoint is in an archive file that is not here"
    return ""


def verify_all(
    place: Place, connection: apsw.Connection, wanted: set[int], *, quiet: bool
) -> tuple[trail.Verdict, dict[int, bytes]]:
    """The chain from its first row through every archive that is here to its end, and the hashes of wanted rows."""
    mark = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('archived_to', 'archived_hash')"))
    archived = trail.Head(int(mark.get("archived_to", 0)), bytes.fromhex(mark.get("archived_hash", "00" * 32)))
    seen = {archived.seq: archived.hash}
    with archive.readers(place.store.archive) as files:
        firsts = [(_first(one), one) for one in files if archived.seq]
        olds = [one for first, one in sorted(firsts, key=lambda pair: pair[0] or 0) if first]
        whole = bool(olds) and _first(olds[0]) == 1
        start = trail.Head(0, trail.GENESIS) if whole else archived
        if archived.seq and not whole and not quiet:
            show.say(f"rows 1 to {archived.seq} are not in {place.store.archive}; the check begins behind them")
        chained = _all_rows(olds if whole else [], connection, archived.seq)
        total = trail.read_head(connection).seq - start.seq
        verdict = trail.verify(start, _noted(_progress(chained, total, quiet=quiet), wanted, seen))
    return verdict, seen


def _first(connection: apsw.Connection) -> int | None:
    row = connection.execute("SELECT min(seq) FROM audit").fetchone()
    return row[0] if row else None


def _all_rows(olds: Iterable[apsw.Connection], live: apsw.Connection, archived_to: int) -> Iterator[trail.Row]:
    for old in olds:
        yield from trail.rows(old)
    yield from trail.rows(live, archived_to)


def _noted(rows: Iterable[trail.Row], wanted: set[int], seen: dict[int, bytes]) -> Iterator[trail.Row]:
    for row in rows:
        if row[0] in wanted:
            seen[row[0]] = row[9]
        yield row


def _progress(rows: Iterator[trail.Row], total: int, *, quiet: bool) -> Iterator[trail.Row]:
    """A bar on a terminal."""
    if quiet or not show.console().is_terminal:
        yield from rows
        return
    from rich.progress import Progress  # only where somebody watches

    with Progress(transient=True) as bar:
        task = bar.add_task("checking the trail", total=total)
        for number, row in enumerate(rows):
            if number % 1000 == 0:
                bar.update(task, completed=number)
            yield row
