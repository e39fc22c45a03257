"""`gatepost compare`: what the agent would have done beside what people did, as evidence for giving it more to do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import apsw
import click

from agent import assembly
from agent.commands import show
from agent.commands.advised import TIMES
from agent.commands.place import Place, as_json, at_place
from agent.configuration import config
from agent.durable import replace_durably
from agent.erp.people_booked import people_booked
from agent.erp.sap_s4 import SapS4Config
from agent.oversight.parallel_cases import comparisons
from agent.parallel import bookings
from agent.parallel import page as parallel_page
from agent.parallel.figures import Asked, Comparison, People
from agent.sap.connection import BasicAuth
from agent.sap.session import SapSession
from agent.store import archive
from agent.store.done import happened, ours
from agent.units import UnitTable

FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--from", "since", type=TIMES, required=True, help="What was decided from this time (UTC) on.")
@click.option("--to", "until", type=TIMES, required=True, help="And before this time (UTC).")
@click.option("--workflow", default="", help="Only this workflow.")
@click.option(
    "--booked", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="CSV of the ERP's own documents."
)
@click.option(
    "--erp", metavar="TARGET", default="", help="Read what people booked from this target of the configuration (SAP)."
)
@click.option("--html", type=FILE, help="Also write a page with plots to this file; none is replaced.")
@click.option(
    "--cases", type=click.IntRange(1), default=100, show_default=True, help="Judged cases that are asked for."
)
@click.option(
    "--share", type=click.FloatRange(0, 1), default=0.95, show_default=True, help="Share that must surely be the same."
)
@at_place
@as_json
def compare(
    *, since: datetime, until: datetime, workflow: str, booked: Path | None, erp: str, html: Path | None,
    cases: int, share: float, place: Place, json: bool,
) -> None:  # fmt: skip
    """Compare what the agent would have done with what people did.

    Agreement, money, minutes and misses, per workflow. People's part is what they approved, corrected, refused or
    took back, and, with --erp or --booked, what they booked in the ERP by themselves. It is the evidence for moving
    a workflow from advise to assist to auto; a person decides. --erp reads SAP page by page and changes nothing; what
    the agent booked is left out, by its number and by its user where that is known.

    \b
    Examples:
      gatepost compare --from 2026-11-02 --to 2026-11-16
      gatepost compare --from 2026-11-02 --to 2026-11-16 --erp s4 --html parallel.html
      gatepost compare --from 2026-11-02 --to 2026-11-16 --booked mb51.csv
    """
    if since >= until:
        raise click.UsageError(f"--to {until:%Y-%m-%d %H:%M} is not behind --from {since:%Y-%m-%d %H:%M}")
    if html is not None and html.exists():
        raise click.UsageError(f"{html} exists; name another file, or remove it")
    units = place.unit_table()
    listed = bookings.read(booked, units) if booked is not None else None
    span = since.replace(tzinfo=UTC), until.replace(tzinfo=UTC)
    if erp:
        listed = [*(listed or ()), *_of_erp(place, erp, span, units)]
    with archive.readers(place.store.archive) as archives:
        found = place.look(
            lambda live: comparisons(
                happened(live, *span, archives), units, _of_others(listed, live, archives), Asked(cases, share)
            )
        )
    others = [one.workflow for one in found if workflow not in ("", one.workflow)]
    found = [one for one in found if one.workflow not in others]
    currency = place.plant.currency
    if html is not None:
        text = parallel_page.page(
            found, f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC", place.plant.site, currency, units
        )
        replace_durably(html, text.encode())
    if json:
        show.data({"from": span[0].isoformat(), "to": span[1].isoformat(), "currency": currency,
                   "workflows": [as_data(one, currency) for one in found]})  # fmt: skip
        return
    if workflow and others and not found:
        told = f"{workflow} decided nothing in this time that would have been booked"
        show.folded(f"{told}; others did: {', '.join(others)}")
    else:
        _tell(found, currency)
    if html is not None:
        show.say(f"written: {html}")


def _of_erp(place: Place, name: str, span: tuple[datetime, datetime], units: UnitTable) -> list[bookings.Booking]:
    """What people booked, from the target itself. Raises NotFound, ConfigError, ErpUnavailable."""
    place.require_target(name)
    loaded = config.load(place.file, assembly.resolver())
    settings = loaded.target(name).settings
    if not isinstance(settings, SapS4Config):
        raise click.UsageError(f"--erp {name}: is no target of kind sap_s4, so nothing can be read there")
    own = settings.auth.user if isinstance(settings.auth, BasicAuth) else ""

    async def read() -> list[bookings.Booking]:
        session = SapSession(settings)
        try:
            await session.open()
            return await people_booked(session, settings.rules(), span, own, units)
        finally:
            await session.close()

    return asyncio.run(read())


def _of_others(
    listed: Sequence[bookings.Booking] | None, live: apsw.Connection, archives: Sequence[apsw.Connection]
) -> list[bookings.Booking] | None:
    """Without what this agent booked itself, also before the span: its user in SAP is not always known."""
    if listed is None:
        return None
    own = ours(live, (one.document for one in listed), archives)
    return [one for one in listed if one.document not in own]


def as_data(one: Comparison, currency: str) -> Mapping[str, Any]:
    """One workflow for programs."""
    same, all_of_it, asked = one.agreement, one.proposals, one.rightly_asked
    return {
        "workflow": one.workflow,
        "mode": one.mode,
        "cases": len(one.cases),
        "people": {
            name: {people.value: one.count([people], alone=alone) for people in People}
            for name, alone in (("alone", True), ("asked", False))
        },
        "agreement": {"same": same.n, "of": same.of, "share": same.share, "bounds": same.bounds},
        "proposals": {"same": all_of_it.n, "of": all_of_it.of, "share": all_of_it.share, "bounds": all_of_it.bounds},
        "rightly_asked": {"otherwise": asked.n, "of": asked.of},
        "money": {
            "same": f"{one.money([People.SAME], alone=True):.2f}",
            "wrong": f"{sum((case.value for case in one.misses), start=one.money([])):.2f}",
        },
        "minutes_waited": [round(minutes, 1) for minutes in one.waits],
        "misses": [
            {"event": case.event, "order": case.posts[0].order, "value": f"{case.value:.2f}", "people": case.how}
            for case in one.misses
        ],
        "by_people_alone": list(one.by_people_alone),
        "speaks_for": one.speaks_for(currency),
        "speaks_against": one.speaks_against(currency),
        "enough": one.enough,
        "verdict": one.verdict(),
    }


def _tell(found: Sequence[Comparison], currency: str) -> None:
    if not found:
        show.say("nothing was decided in this time that would have been booked")
    for one in found:
        rows = [
            [words, *(one.count([people], alone=alone) for people in People), f"{one.money(People, alone=alone):.2f}"]
            for words, alone in (("would have posted by itself", True), ("would have asked a person", False))
        ]
        head = [f"{one.workflow} (mode {one.mode})", *(f"people: {people.value}" for people in People), currency]
        show.table(head, rows)
        show.folded(one.verdict())
        for title, sentences in (("for", one.speaks_for(currency)), ("against", one.speaks_against(currency))):
            for sentence in sentences:
                show.folded(f"  {title}: {sentence}")
        for case in one.misses[:10]:
            show.folded(f"  event {case.event}: order {case.posts[0].order}, {case.value:.2f} {currency}: {case.how}")
        show.say("")
