"""Order release: whether an order can start and finish on time, and what follows from that.

Hard constraints are computed (`constraints`); a model scores what is left as the probability to start and finish on
time. Feasible orders are released and dispatched as one group; for those at risk a note is drafted and the planner is
told; blocked ones are not released, the planner is told once per cause, and they are looked at again when it is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from agent.facts import Facts
from agent.features.order_feasibility import FEATURES
from agent.isa95 import SegmentResponse
from agent.masterdata.entities import Order
from agent.ports import Draft, Proposal
from agent.scores import Classified, Features
from agent.workflows import oee, paces, presence, receipts, release_drafts, shop, supply
from agent.workflows.asked_order import asked_of
from agent.workflows.constraints import BLOCKS, DELAYS, Asked, Constraint, Limits, Looked, found, open_operations
from agent.workflows.earliest import Earliest, earliest, endless
from agent.workflows.said_before import Before

ON_TIME: Final = "on time"  # the class of the model that counts
ONLY_ASKED: Final = "it asks for something else than the ERP's order: it is answered, nothing follows from it"
OVER: Final = ("completed", "closed", "locked", "deleted")  # statuses of orders that nobody can release
_FORGOTTEN: Final = {"signature": "", "released": ""}  # of what was said before: an unlocked order is decided anew
_NOTHING_NEW: Final = "as it was decided before: nothing new follows from it"


class Status(StrEnum):
    """What is said of an order."""

    FEASIBLE = "FEASIBLE"
    WITH_NOTES = "FEASIBLE_WITH_NOTES"
    AT_RISK = "AT_RISK"
    BLOCKED = "BLOCKED"


ACTIONS: Final = {
    Status.FEASIBLE: "RELEASE_ORDER",
    Status.WITH_NOTES: "RELEASE_ORDER",
    Status.AT_RISK: "ASK_PLANNER",
    Status.BLOCKED: "DO_NOT_RELEASE",
}


class Config(BaseModel):
    """Options of the workflow `order_release`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_risk_below: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="An order whose probability to start and finish on time is below is at risk",
    )
    replenishment_minutes: int = Field(
        default=240, ge=0, description="From another storage location of the plant to the one of the order"
    )
    down_states: tuple[str, ...] = Field(
        default=("down", "fault", "faulted", "aborted", "stopped", "off"),
        description="What the equipment state of a work centre says where it cannot work, in any case of letters",
    )
    stale_after_s: int = Field(
        default=300, ge=1, description="Live facts that nobody has vouched for so long make an order one at risk"
    )
    planners: tuple[str, ...] = Field(default=("planner",), description="Who is told of orders at risk and blocked")
    logistics: tuple[str, ...] = Field(default=("logistics",), description="Who is told that a line needs material")

    @property
    def limits(self) -> Limits:
        """How facts are judged by it."""
        return Limits(
            frozenset(one.lower() for one in self.down_states),
            timedelta(minutes=self.replenishment_minutes),
            float(self.stale_after_s),
        )


class Verdict(NamedTuple):
    """What is said of one order, and from what it follows."""

    status: Status
    score: float
    constraints: Sequence[Constraint]
    risks: Sequence[str]
    looked: Sequence[Looked]
    when: Earliest
    notes: Sequence[str] = ()  # what is worth knowing and no constraint

    @property
    def blocking(self) -> list[str]:
        """Sentences about what blocks it."""
        return [one.said for one in self.constraints if one.weight == BLOCKS]

    @property
    def warnings(self) -> list[str]:
        """Sentences about everything else."""
        return [*(one.said for one in self.constraints if one.weight != BLOCKS), *self.risks, *self.notes]

    @property
    def causes(self) -> list[str]:
        """The same for the same causes, whatever their numbers."""
        return sorted({one.cause for one in self.constraints})


class OrderRelease:
    """A report of kind ``order_release``: an order that changed, a fact that touches it, or a request."""

    name = "order_release"
    feature_names: tuple[str, ...] = FEATURES

    def __init__(self, config: Config) -> None:
        self.config = config
        self._limits = config.limits

    def prepare(self, facts: Facts) -> None:
        """Work out what every question about this snapshot needs."""
        for derive in (shop.queues, supply.stocks_by_material, supply.reserved, receipts.by_material):
            derive(facts)

    def state_keys(self, report: SegmentResponse) -> tuple[str, ...]:
        """What was said of the order last, and what is remembered of the OEE of work centres."""
        return f"{self.name}/{report.order}", f"{self.name}.oee"

    def features(self, report: SegmentResponse, facts: Facts) -> Features | None:
        """Its model tells classes: see `values`."""
        return None

    def values(
        self, report: SegmentResponse, facts: Facts, states: Sequence[Any]
    ) -> Mapping[str, float | str | None] | None:
        """What the model looks at; None where something blocks the order, or times are not known."""
        asked, said = asked_of(report, facts)
        constraints, _ = self._found(asked, facts)
        if any(one.weight == BLOCKS for one in (*said, *constraints)):
            return None
        waits = [shop.until(one.at, asked.at) for one in constraints if one.at is not None]
        oees = {one.work_center: one.expected for one in self._oees(asked, facts, states[1])}
        pace = paces.of_order(asked.order, facts, asked.at)
        hours = presence.of_route(asked.order, facts, asked.at, asked.skill)
        outlook = shop.Outlook(max([0.0, *waits]), oees, pace, hours) if pace else None
        row = shop.row(asked.order, facts, asked.at, outlook) if outlook else None
        return dict(zip(FEATURES, row, strict=True)) if row is not None else None

    def propose(
        self, report: SegmentResponse, facts: Facts, score: Classified | None, states: Sequence[Any]
    ) -> tuple[Proposal, Sequence[Any]]:
        """The verdict, and what follows from it where it is not what was said before. Raises BadPayload."""
        asked, contradictions = asked_of(report, facts)
        state, memory = states
        oees = self._oees(asked, facts, memory)
        proposal, after = self._decided(report, asked, contradictions, facts, score, state, oees)
        return proposal, [after, oee.remembered({one.work_center: one.now for one in oees}, memory, asked.at)]

    def _decided(
        self, report: SegmentResponse, asked: Asked, contradictions: Sequence[Constraint], facts: Facts,
        score: Classified | None, state: Any, oees: Sequence[oee.Oee],
    ) -> tuple[Proposal, Any]:  # fmt: skip
        verdict = self._verdict(asked, contradictions, facts, score, oees)
        answer = _answer(verdict, score)
        said = release_drafts.said(
            asked.order, verdict.status, verdict.constraints, verdict.when.starts, verdict.when.set_by, facts
        )
        base = Proposal(
            (), verdict.score, reasons=(*verdict.blocking, *verdict.warnings), subject=_subject(asked.order, facts),
            said=said, answer=answer,
        )  # fmt: skip
        if asked.known and asked.order.status in OVER:
            return base._replace(withdraws=_lane(asked.order)), state and state | _FORGOTTEN
        if not asked.known or asked.order.status != "created":
            return base, state
        if contradictions or self._asks_more(asked, verdict, facts):
            return base._replace(reasons=(*base.reasons, ONLY_ASKED)), state
        before, content = Before.of(state, report), digest(asked.order)
        base = base._replace(withdraws=_lane(asked.order))
        now = {
            "status": verdict.status.value, "causes": verdict.causes, "signature": self._signature(asked, verdict),
            "again": bool(oees),
        }  # fmt: skip
        if verdict.status in (Status.FEASIBLE, Status.WITH_NOTES):
            if before.released == content:
                reasons = (*base.reasons, "its release was proposed before")
                return base._replace(reasons=reasons, withdraws=""), now | before.kept()
            drafts = (*release_drafts.release(asked.order, facts), *self._replenishments(asked.order, verdict, facts))
            proposal = base._replace(drafts=drafts, together=True, holds=before.holds(content))
            return proposal, now | before.after_release(report, content)
        if (before.status, list(before.causes)) == (verdict.status, verdict.causes):
            return base._replace(reasons=(*base.reasons, _NOTHING_NEW), withdraws=""), now | before.kept()
        drafts, holds = self._exception(asked.order, verdict, facts)
        return base._replace(drafts=drafts, holds=holds), now | before.after_exception(report)

    def _oees(self, asked: Asked, facts: Facts, memory: oee.Memory) -> list[oee.Oee]:
        """Of its route, where a tag tells them."""
        return oee.expected(oee.told(asked.order, facts, self._limits, []), memory, asked.at, asked.order.due)

    def _found(self, asked: Asked, facts: Facts) -> tuple[list[Constraint], list[Looked]]:
        """What stands in its way, what blocks first, and every fact that was looked at."""
        constraints, looked = found(asked, facts, self._limits)
        return [*endless(asked, facts), *constraints], looked

    def _asks_more(self, asked: Asked, verdict: Verdict, facts: Facts) -> bool:
        """Whether a request stumbles over a certificate that only it asks for."""
        own = self._found(replace(asked, skill=""), facts)[0] if asked.skill else verdict.constraints
        return [one.said for one in own] != [one.said for one in verdict.constraints]

    # ── the verdict ─────────────────────────────────────────────────────────────────────────────────────

    def _verdict(
        self, asked: Asked, contradictions: Sequence[Constraint], facts: Facts, score: Classified | None,
        oees: Sequence[oee.Oee],
    ) -> Verdict:  # fmt: skip
        own, looked = self._found(asked, facts)
        oee.told(asked.order, facts, self._limits, looked)
        looked.extend(paces.looked(asked.order, facts, asked.at))
        constraints = [*contradictions, *own]
        blocked = any(one.weight == BLOCKS for one in constraints)
        on_time = dict(zip(score.classes, score.probabilities, strict=True)).get(ON_TIME, 0.0) if score else None
        when = earliest(asked, constraints, facts, {one.work_center: one.expected for one in oees})
        notes = () if blocked else [one.said for one in oees if one.said]
        risks = [] if blocked else list(self._risks(asked, constraints, when, on_time))
        if blocked:
            status = Status.BLOCKED
        elif risks or any(one.name == "live" for one in constraints):
            status = Status.AT_RISK
        else:
            status = Status.WITH_NOTES if constraints or notes else Status.FEASIBLE
        told = 0.0 if blocked else 1.0 if on_time is None else on_time
        return Verdict(status, told, constraints, risks, looked, when, notes)

    def _risks(
        self, asked: Asked, constraints: Sequence[Constraint], when: Earliest, on_time: float | None
    ) -> Iterator[str]:
        """Why it may start or finish late."""
        order, starts = asked.order, when.starts
        planned = order.planned_start
        waits = [one for one in constraints if one.weight == DELAYS and one.name != "operator"]  # a night is no delay
        if waits and (planned is None or starts > planned):
            late = shop.hours((starts - max(planned or asked.at, asked.at)).total_seconds() / 60)
            yield f"its earliest start, {starts:%Y-%m-%d %H:%M} UTC, is {late} later than it could be"
        if order.due is not None and when.ends > order.due:
            over = shop.hours((when.ends - order.due).total_seconds() / 60)
            yield f"{when.takes()} end {over} after it is due, {order.due:%Y-%m-%d %H:%M} UTC"
        if on_time is not None and on_time < self.config.at_risk_below:
            yield f"it is on time with probability {on_time:.2f}, below {self.config.at_risk_below:.2f}"

    # ── what follows ────────────────────────────────────────────────────────────────────────────────────

    def _replenishments(self, order: Order, verdict: Verdict, facts: Facts) -> Iterator[Draft]:
        for one in verdict.constraints:
            if one.name == "line_side_stock" and self.config.logistics:
                cause = f"replenish/{order.order}/{one.of}"
                subject = f"{one.of} for order {order.order}: {one.needed} needed, {one.there} at the line"
                yield release_drafts.message(order, self.config.logistics, cause, "info", subject, [subject], facts)

    def _exception(self, order: Order, verdict: Verdict, facts: Facts) -> tuple[tuple[Draft, ...], tuple[str, ...]]:
        """A blocked order: the planner is told. One at risk: a note waits for a signature, too."""
        blocked = verdict.status is Status.BLOCKED
        why = [*verdict.blocking, *verdict.warnings]
        start = "nobody knows" if blocked else f"{verdict.when.starts:%Y-%m-%d %H:%M} UTC, set by {verdict.when.set_by}"
        lines = [*why, f"Earliest start: {start}."]
        if blocked:
            lines.append("It is looked at again, and released if that is allowed, when this is gone.")
        state = "blocked" if blocked else "at risk"
        cause = f"order/{order.order}/{'+'.join(verdict.causes) or state}"
        severity = "alarm" if blocked else "warning"
        subject = f"order {order.order} is {state}: {why[0]}"
        told = release_drafts.message(order, self.config.planners, cause, severity, subject, lines, facts)
        if blocked:
            return ((told,) if self.config.planners else ()), ()
        messages = (told,) if self.config.planners else ()
        return (release_drafts.note(order, why), *messages), (f"order {order.order} is at risk: {why[0]}",)

    # ── what the agent watches ──────────────────────────────────────────────────────────────────────────

    def watched(self, facts: Facts, at: datetime) -> Iterator[tuple[str, str]]:
        """Each order that is not released yet, and the signature of what it depends on; another one: look again."""
        for order in facts.orders.values():
            if order.status == "created" and order.plant == facts.plant.site:
                asked = Asked(order, at)
                yield order.order, signature(order, self._found(asked, facts)[0])

    def over(self, facts: Facts) -> Iterator[tuple[str, str]]:
        """The lane of each order that nobody can release, and the order."""
        return ((_lane(order), order.order) for order in facts.orders.values() if order.status in OVER)

    def _signature(self, asked: Asked, verdict: Verdict) -> str:
        return signature(asked.order, verdict.constraints)


def _lane(order: Order) -> str:
    return f"order/{order.order}"


def signature(order: Order, constraints: Sequence[Constraint]) -> str:
    """The order as the ERP tells it, and the causes that hold it up."""
    causes = ",".join(sorted({one.cause for one in constraints}))
    return f"{digest(order)} {causes}"


def digest(order: Order) -> str:
    """The same for an order of the same content; what was withdrawn of it, and when it was touched, is no content."""
    parts = [
        order.material, f"{order.quantity:f}", order.unit, order.status, str(order.due), str(order.planned_start),
        *(f"{one.operation} {one.work_center} {one.minutes}" for one in open_operations(order)),
        *(f"{one.material} {one.required:f} {one.unit} {one.storage_location} {one.batch}" for one in order.components),
    ]  # fmt: skip
    return sha256("\n".join(parts).encode()).hexdigest()[:16]


def _answer(verdict: Verdict, score: Classified | None) -> dict[str, Any]:
    """What programs are told."""
    return {
        "feasibility_score": round(verdict.score, 2),
        "status": verdict.status.value,
        "blocking_issues": verdict.blocking,
        "warnings": verdict.warnings,
        "recommended_action": ACTIONS[verdict.status],
        "model": score.model if score else None,
        "earliest_start": None if verdict.status is Status.BLOCKED else verdict.when.starts.isoformat(),
        "earliest_finish": None if verdict.status is Status.BLOCKED else verdict.when.ends.isoformat(),
        "set_by": verdict.when.set_by,
        "constraints": [one.told() for one in verdict.constraints],
        "facts": [one.told() for one in verdict.looked],
    }


def _subject(order: Order, facts: Facts) -> dict[str, str]:
    first = next(iter(open_operations(order)), None)
    place = facts.work_centers.get(first.work_center) if first else None
    return {
        "order": order.order,
        "material": order.material,
        "work_center": first.work_center if first else "",
        "line": place.line if place else "",
    }
