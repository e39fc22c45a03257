"""One look at what came since the last: what is overdue, odd, or gone becomes a finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import exp
from typing import Final

from agent.detectors import usage
from agent.digits import plain
from agent.reconciliation import counting, lateness, lines, lots, pairing, putright, stock, usualuse
from agent.reconciliation.counting import Moved
from agent.reconciliation.findings import Cause, Correction, Finding
from agent.reconciliation.lines import Joined, Line
from agent.reconciliation.observed import (
    Booked,
    Corrected,
    InBooks,
    Level,
    Made,
    Material,
    Observation,
    Place,
    Plan,
    Restated,
    Scrapped,
    Used,
)
from agent.reconciliation.state import Lot, Order, State, Waiting
from agent.reconciliation.stock import Stock
from agent.reconciliation.usualuse import Off

UNPLANNED: Final = 50  # withdrawals that an order did not plan are remembered
BEFORE: Final = timedelta(hours=12)  # a lot is told to be made: what was used instead was used in that time
ALIKE: Final = 0.15  # of the quantity
HALF: Final = timedelta(hours=12)  # for the other half of a substitution to be seen
FORGOTTEN: Final = timedelta(days=3)  # after all of an order is settled

Patience = Callable[[str], timedelta]
Open = Callable[[str], bool]


@dataclass
class _Look:
    """One call of `step`."""

    state: State
    now: datetime
    materials: Mapping[str, Material]
    patience: Patience
    open: Open
    never: Open
    findings: list[Finding] = field(default_factory=list)

    def overdue(self, what: str) -> datetime:
        return self.now - self.patience(what)

    def late(self, what: str, by: timedelta) -> None:
        self.state.late[what] = lateness.learn(self.state.late.get(what, lateness.NOTHING), by)


def step(
    state: State,
    observations: Iterable[Observation],
    now: datetime,
    materials: Mapping[str, Material],
    patience: timedelta | None = None,
    open_: Open = lambda report: False,
    never: Open = lambda report: False,
) -> list[Finding]:
    """What is found after these observations, as of `now`. `state` is changed: keep it together with the findings.

    `materials` tells of every material that occurs; what it does not know is left out. `patience` replaces what is
    learnt of how late things come. `open_` says of a report that its posting is not in the books: it is on its way,
    waits for a person, or one refused it; `never`, that this agent does not book it. Nothing is found odd of such a
    report before it is in the books.
    """

    def learnt(what: str) -> timedelta:
        return patience if patience is not None else lateness.wait(state.late.get(what, lateness.NOTHING))

    look = _Look(state, now, materials, learnt, open_, never)
    for one in observations:
        _take(look, one)
    for number, order in list(state.orders.items()):
        _order(look, order)
        if order.settled and now - order.seen > FORGOTTEN:
            del state.orders[number]
    _stocks(look)
    for finding in look.findings:
        moved_at(state, finding.place, finding.at).doubt += finding.excess
        if (of := state.orders.get(finding.order)) is not None:
            putright.told(of, finding)
    return look.findings


# ── what came ───────────────────────────────────────────────────────────────────────────────────────────────


def _take(look: _Look, one: Observation) -> None:
    match one:
        case Plan():
            _order_of(look, one.order).needs = list(one.needs)
        case Made():
            _made(look, one)
        case Used() if one.place.material in look.materials:
            _used(look, one)
        case Booked() if one.corrects:
            _corrected(look, one)
        case Booked() if one.place.material in look.materials:
            _booked(look, _order_of(look, one.order), one)
        case Scrapped():
            if (scrapped := look.state.orders.get(one.order)) is not None:
                putright.scrapped(scrapped, one)
        case Restated():  # the books jump, and that explains nothing that lies there: no new finding of it
            _off_books(look, one.place, one.at, one.quantity)
            if one.quantity < 0 and not one.counted:  # the finding was about the place that had too little in the books
                moved_at(look.state, one.place, one.at).doubt += one.quantity
        case Corrected() if one.use.place.material in look.materials:
            _said(look, _order_of(look, one.use.order), one)
        case Level() if one.counted:
            look.state.moved = [each for each in look.state.moved if not one.place.holds(each[0])]
            look.state.moved.append((one.place, Moved(since=one.at, counted=True)))
        case Level():
            _stock_of(look, one.place).levels.append((one.at.timestamp(), one.quantity))
        case InBooks():
            _stock_of(look, one.place)
            for there, kept in look.state.stocks:
                if there.holds(one.place):
                    kept.told(one.at.timestamp(), one.place.batch, one.quantity)
        case _:
            pass  # of a material that nobody told of


def _booked(look: _Look, order: Order, one: Booked) -> None:
    one = putright.by_hand(order, one, look.materials[one.place.material])
    for part in putright.shares(order, one, look.materials[one.place.material]):
        if part.corrects:
            _corrected(look, part)
            continue
        putright.taken_back(order, part.takes_back)
        order.line(part.place.material).books.append(part)
        order.total(part.place.material).booked += part.quantity
        _off_books(look, part.place, part.at, float(part.quantity))


def _corrected(look: _Look, one: Booked) -> None:
    """What was found is put right by so much: that explains itself, and leaves no doubt about its place."""
    _off_books(look, one.place, one.at, float(one.quantity))
    moved_at(look.state, one.place, one.at).doubt += float(one.quantity)
    order = look.state.orders.get(one.order)
    if order is None:
        return
    if words := putright.done_before(order, one):  # signed before anybody saw that
        order.total(one.place.material).booked += one.quantity
        look.findings.append(lines.issued_twice(one, words, look.materials[one.place.material]))
        return
    putright.corrected(order, one)


def _said(look: _Look, order: Order, one: Corrected) -> None:
    """A person says what was used: that is what left its place, too."""
    if one.taken_back and not one.quantity:
        putright.taken_back(order, one.use.id)
    _flow(look, one.use.place, one.use.at, float(putright.said(order, one)))


def _off_books(look: _Look, place: Place, at: datetime, quantity: float) -> None:
    for there, kept in look.state.stocks:
        if there.holds(place):
            kept.bookings.append((at.timestamp(), quantity))


def _order_of(look: _Look, number: str) -> Order:
    order = look.state.orders.setdefault(number, Order(seen=look.now))
    order.seen = look.now
    return order


def _stock_of(look: _Look, place: Place) -> Stock:
    for there, kept in look.state.stocks:
        if there == place:
            return kept
    kept = Stock()
    look.state.stocks.append((place, kept))
    return kept


def _made(look: _Look, one: Made) -> None:
    order = _order_of(look, one.order)
    for place, per_piece in order.needs:
        if per_piece > 0 and place.material in look.materials:
            order.counts = True
            order.line(place.material).made.append(one)


def _used(look: _Look, one: Used) -> None:
    look.late("report", look.now - one.at)
    order = _order_of(look, one.order)
    line = order.line(one.place.material)
    first = line.earliest is None or one.at < line.earliest  # also where a device held it back, and others came before
    one, line.earliest = one._replace(first=first), min(one.at, line.earliest or one.at)
    total = order.total(one.place.material)
    total.expected, total.used = total.expected + one.expected, total.used + one.quantity
    _moved(look, one)
    line.uses.append(one)
    _flow(look, one.place, one.at, float(one.quantity))
    absent = next((made for made in line.absent if lines.of_lot(one, made)), None)
    if absent is not None:  # it was told to be missing, and came after all
        line.absent.remove(absent)
        putright.came_after_all(order, one.place.material, absent.id, one.id)
    elif one.expected > 0:
        line.lots.append(one)
    else:
        order.unplanned = [*order.unplanned, one][-UNPLANNED:]


def _moved(look: _Look, one: Used) -> None:
    """What the books of its place may be off by grows with every report."""
    moved = moved_at(look.state, one.place, one.at)
    known = usualuse.off(one, look.state.streams.get(usualuse.key(one)))
    share = known.width if known is not None and known.known else counting.UNKNOWN_SHARE
    moved.quantity += float(one.quantity)
    moved.variance += (share * float(one.quantity)) ** 2


def moved_at(state: State, place: Place, at: datetime) -> Moved:
    """What moved at a place since it was counted, or since it was first seen."""
    for there, moved in state.moved:
        if there == place:
            return moved
    state.moved.append((place, Moved(since=at)))
    return state.moved[-1][1]


def _flow(look: _Look, place: Place, at: datetime, quantity: float) -> None:
    for there, kept in look.state.stocks:
        if there.holds(place):
            kept.flows.append((at.timestamp(), quantity))


# ── an order ────────────────────────────────────────────────────────────────────────────────────────────────


def _order(look: _Look, order: Order) -> None:
    for material, line in order.lines.items():
        if line.lots or not line.settled:
            _line(look, order, material, line)
    for key, lot in list(order.lots.items()):
        complete = len(lot.uses) >= len(order.needs) or lot.at < look.overdue("report")
        if complete and all(_settled(look, order, use) for use in lot.uses):
            del order.lots[key]
            _judge(look, [use for use in lot.uses if _in_books(look, order, use)])


def _line(look: _Look, order: Order, name: str, line: Line) -> None:
    material = look.materials[name]
    for joined in lines.with_made(line):
        _join(look, order, joined)
    if order.counts:
        lines.drop_repeated(line, material, look.overdue("made"), look.never)
    found, late, instead = lines.with_books(line, material, look.overdue("booking"), look.open)
    for by in late:
        look.late("booking", max(by, timedelta()))
    for use, quantity in instead:
        _said(look, order, Corrected(use, quantity, taken_back=True))
    if order.counts:
        for use, finding in lines.reported_twice(line, material, look.overdue("made"), look.open):
            found.append(finding)
            _flow(look, use.place, use.at, -float(use.quantity))
        found += _absent(look, order, name, line)
    else:
        for use in line.lots:
            told = use.id in line.alone or use.id in line.refused
            if use.at < look.overdue("made") and not told and _settled(look, order, use):
                line.alone.append(use.id)
                _judge(look, [use] if _in_books(look, order, use) else [])
    look.findings += found


def _settled(look: _Look, order: Order, use: Used) -> bool:
    """Whether it is known if the books have a report: it does not wait, and what this agent never books others may."""
    if look.open(use.id):
        return False
    unpaired = any(one.id == use.id for one in order.line(use.place.material).uses)
    return not (unpaired and look.never(use.id))


def _in_books(look: _Look, order: Order, use: Used) -> bool:
    return any(one.id == use.id for one in order.line(use.place.material).used) or not look.never(use.id)


def _join(look: _Look, order: Order, joined: Joined) -> None:
    """Put reports beside those of other components of the same lot."""
    made = joined.made[0]
    line = order.lines[joined.uses[0].place.material]
    for number, use in enumerate(sorted(joined.uses, key=lambda one: one.at)):
        look.late("made", look.now - use.at)
        if use.id in line.alone:
            line.alone.remove(use.id)
            continue
        if use.id in line.refused:  # a person said that it is wrong: it is neither odd nor usual
            continue
        order.lots.setdefault(f"{made.id}/{number}", Lot(at=made.at)).uses.append(use)


def _absent(look: _Look, order: Order, name: str, line: Line) -> list[Finding]:
    """Lots without a report; where as much of something else was taken for the order at that time, a substitution."""
    place, per_piece = next(((place, per) for place, per in order.needs if place.material == name), (Place(name), 0.0))
    if not per_piece > 0 or not line.made:
        return []
    ratio, width = _usual(look.state, name)
    found = []
    told, rest = lines.never_reported(
        line, place, per_piece * ratio, width, look.materials[name], look.overdue("report")
    )
    for joined in rest:
        _join(look, order, joined)
    for made, finding in told:
        quantity = float(made.quantity) * per_piece * ratio
        other = next((use for use in order.unplanned if _stands_in(use, made, quantity)), None)
        if other is not None:
            order.unplanned.remove(other)
            found.append(_substituted(finding, other, look.materials[name].unit))
            continue
        found.append(finding._replace(misreported=True, expected=float(made.quantity) * per_piece))
        _flow(look, place, made.at, quantity)
    return found


def _usual(state: State, material: str) -> tuple[float, float]:
    """What a lot takes of a material beside its bill of material, at the place that is known best, and its spread."""
    streams = [
        usage.restored(kept) for key, kept in state.streams.items() if key.startswith(f"{material}/") and key[-1] == "/"
    ]
    known = max((one for one in streams if one is not None), key=lambda one: one.ratio[0], default=None)
    return (exp(known.ratio[1]), max(known.ratio[2], 0.001)) if known else (1.0, usage.FIRST_GUESS)


def _stands_in(use: Used, made: Made, quantity: float) -> bool:
    return -BEFORE <= use.at - made.at <= pairing.EARLY and abs(float(use.quantity) / quantity - 1) <= ALIKE


def _substituted(missing: Finding, other: Used, unit: str) -> Finding:
    evidence = (
        missing.evidence[0],
        f"{plain(other.quantity)} {unit} of {other.place.material} were taken for it, which the order did not plan",
    )
    return missing._replace(
        cause=Cause.SUBSTITUTION, excess=0.0, correction=Correction.NONE, evidence=evidence, instead=other.place,
        about=(*missing.about, other.id),
    )  # fmt: skip


def _judge(look: _Look, uses: Iterable[Used]) -> None:
    """Say what is odd of a lot, and learn from the rest what is usual."""
    streams = look.state.streams
    seen = [found for one in uses if (found := usualuse.off(one, streams.get(usualuse.key(one)))) is not None]
    key = usualuse.together(seen)
    findings, streams[key] = lots.judged(seen, look.materials, streams.get(key))
    odd = {id for finding in findings for id in finding.about}
    for one in seen:
        if one.used.id not in odd:
            _learn(look, one)
    for finding in findings:
        if finding.excess:
            _flow(look, finding.place, finding.at, -finding.excess)
    look.findings += findings


def _learn(look: _Look, one: Off) -> None:
    key, step = usualuse.key(one.used), float(look.materials[one.used.place.material].step)
    look.state.streams[key] = usualuse.learn(one.used, look.state.streams.get(key), step)


# ── what lies there ─────────────────────────────────────────────────────────────────────────────────────────


def _stocks(look: _Look) -> None:
    """Levels that every report is in for, and their steps in pairs or alone."""
    overdue = look.now - max(look.patience(what) for what in ("report", "booking", "made")) - timedelta(hours=1)
    for place, kept in look.state.stocks:
        for change in kept.reading(overdue.timestamp()):
            if change.drift:
                look.findings.append(stock.lost(place, change, _unit(look, place)))
            else:
                look.state.steps.append(Waiting(place, change, look.now))
    _pair_steps(look)


def _pair_steps(look: _Look) -> None:
    waiting = sorted(look.state.steps, key=lambda one: one.change.by)
    left: list[Waiting] = []
    while waiting:
        one = waiting.pop(0)
        fitting = _opposite_to(one, waiting)
        other = fitting[0] if fitting else None
        if other is not None and one.place == other.place:
            waiting.remove(other)  # it is back: something was told later than it happened
        elif other is not None and _unit(look, one.place) == _unit(look, other.place):
            waiting.remove(other)
            alone = len(fitting) == 1 and not _opposite_to(other, [*waiting, *left])
            sure = alone and stock.mixed_up(one.place, one.change, other.place, other.change)
            unit = _unit(look, one.place)
            look.findings.append(stock.instead(other.place, other.change, one.place, unit, sure=sure))
        elif look.now - one.found > HALF:
            look.findings.append(stock.lost(one.place, one.change, _unit(look, one.place)))
        else:
            left.append(one)
    look.state.steps = left


def _opposite_to(one: Waiting, others: Iterable[Waiting]) -> list[Waiting]:
    return [each for each in others if stock.opposite(one.place, one.change, each.place, each.change)]


def _unit(look: _Look, place: Place) -> str:
    known = look.materials.get(place.material)
    return known.unit if known else ""
