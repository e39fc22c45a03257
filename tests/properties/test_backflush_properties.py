"""Backflush: whatever comes in whatever order, what is issued is what was measured, and nothing is counted twice."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent import own_events
from agent.authority import Rule
from agent.facts import Facts
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.judging.rules import Assignment, Rules
from agent.ports import Event, Kind
from agent.shares import Share
from agent.store.unbooked import Unbooked
from agent.unbooked import reports
from agent.workflows import consumption
from agent.workflows.account import Account, Made, rounded
from agent.workflows.backflush import Backflush, Config
from tests.unit.test_workflow_consumption import AT, FACTS, MIXING

STEP = Decimal("0.001")
LOOSE = {"material": "", "work_center": "", "under": "1", "over": "1000"}  # every measurement is believed
STRICT = {"material": "RM-RESIN", "work_center": "", "under": "0.02", "over": "0.02"}
MANAGED = {"material": "RM-RESIN", "base_unit": "KGM", "price": "3.20", "batch_managed": True}
KNOWN = FACTS.with_documents([
    ("tolerance", LOOSE), ("tolerance", LOOSE | {"material": "RM-RESIN"}), ("material", MANAGED),
    ("order", MIXING | {"quantity": "1000000", "components": [
        one | {"required": "1000000"} for one in MIXING["components"]]}),
])  # fmt: skip

Lot = tuple[int, dict[str, tuple[Decimal, str, str]]]  # pieces; material → measured, its unit, its batch


def produced(id: str, pieces: int, at: float = 0, *, final: bool = False) -> SegmentResponse:
    made = MaterialActual(MaterialUse.PRODUCED, Quantity(Decimal(pieces), "C62"))
    moment = AT + timedelta(seconds=at)
    return SegmentResponse("production", id, "1000100", "0010", moment, "MIX-01", final=final, material_actuals=(made,))


def measured(
    id: str, material: str, quantity: Decimal, unit: str, batch: str, pieces: int | None, at: float = 0
) -> SegmentResponse:
    actuals = [MaterialActual(MaterialUse.CONSUMED, Quantity(quantity, unit), material, batch)]
    if pieces is not None:
        actuals.append(MaterialActual(MaterialUse.PRODUCED, Quantity(Decimal(pieces), "C62")))
    moment = AT + timedelta(seconds=at)
    return SegmentResponse("measured", id, "1000100", "0010", moment, "MIX-01", material_actuals=tuple(actuals))


def weights(unit: str) -> st.SearchStrategy[Decimal]:
    places = {"KGM": 3, "GRM": 1, "LBR": 2}[unit]
    return st.decimals("0.001", "300", places=places, allow_nan=False).filter(lambda one: one > 0)


@st.composite
def lots(draw: st.DrawFn) -> Lot:
    weighed = {}
    for material in ("RM-RESIN", "RM-PIGMENT"):
        unit = draw(st.sampled_from(["KGM", "GRM", "LBR"]))
        batch = draw(st.sampled_from(["A", "B"])) if material == "RM-RESIN" else ""
        weighed[material] = (draw(weights(unit)), unit, batch)
    return draw(st.integers(1, 200)), weighed


def messages_of(told: Sequence[Lot], *, by_time: bool) -> list[SegmentResponse]:
    """Pieces in two reports and a correction, then what the scales saw; the last report of pieces is the final one."""
    found = []
    for number, (pieces, weighed) in enumerate(told):
        start = 100.0 * number
        found += [
            produced(f"P{number}a", pieces // 2 + 3, start + 1),
            produced(f"P{number}b", pieces - pieces // 2, start + 2),
            produced(f"P{number}c", -3, start + 3, final=number == len(told) - 1),
        ]
        found += [
            measured(f"M{number}{material}", material, *weighing, None if by_time else pieces, start + 50)
            for material, weighing in weighed.items()
        ]
    return found


class Books:
    """What SAP would have, if every posting were approved."""

    def __init__(self, config: Config, facts: Facts = KNOWN) -> None:
        self.facts = facts
        self.flow = Backflush(config)
        self.states: dict[str, Any] = {}
        self.seen: set[str | None] = set()
        self.issued: dict[tuple[str, str], Decimal] = defaultdict(Decimal)

    def take(self, report: SegmentResponse) -> None:
        if report.id in self.seen:  # as the agent knows a message that comes again
            return
        self.seen.add(report.id)
        keys = self.flow.state_keys(report)
        before = [self.states.get(key, {}) for key in keys]
        proposal, after = self.flow.propose(report, self.facts, None, before)
        self.states.update(zip(keys, after, strict=True))
        for draft in proposal.drafts:
            payload: Mapping[str, Any] = draft.payload
            quantity = Decimal(payload["quantity"])
            assert quantity > 0
            back = payload.get("movement") == "262"
            assert proposal.holds if back else True
            self.issued[payload["material"], payload["batch"]] += -quantity if back else quantity
        assert min(self.issued.values(), default=Decimal(0)) >= 0


def true_sums(told: Sequence[Lot]) -> dict[tuple[str, str], Decimal]:
    """By material and batch what was measured, in kilograms and rounded once."""
    sums: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    sizes = {"KGM": Fraction(1), "GRM": Fraction(1, 1000), "LBR": Fraction("0.45359237")}
    for _, weighed in told:
        for material, (quantity, unit, batch) in weighed.items():
            sums[material, batch] += Fraction(quantity) * sizes[unit]
    return {key: Decimal(int(rounded(value, STEP) * 1000)) / 1000 for key, value in sums.items()}


CONFIG = Config(every_pieces=Decimal(20), double_report_seconds=0, rare=0, over_delivery=Decimal(1000))


@given(st.data(), st.lists(lots(), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_after_settlement_the_books_have_what_was_measured(
    data: st.DataObject, told: list[Lot], by_time: bool, strict: bool
):
    """Reports overtake each other and come several times; the sum by material and batch is right to the last digit.

    With strict tolerances nearly every measurement is held, and a person approves what is left to issue or take back.
    """
    messages = messages_of(told, by_time=by_time)
    again = data.draw(st.lists(st.sampled_from(messages), max_size=5))
    books = Books(CONFIG, KNOWN.with_documents([("tolerance", STRICT)]) if strict else KNOWN)
    for message in data.draw(st.permutations([*messages, *again])):
        books.take(message)
    assert {key: value for key, value in books.issued.items() if value} == {
        key: value for key, value in true_sums(told).items() if value
    }


FATES = ("booked", "booked", "refused by a person", "refused by SAP", "corrected", "taken back")


class Fates(Books):
    """What SAP has where not every posting is booked; what becomes of each is heard of some time later."""

    def __init__(self, data: st.DataObject, facts: Facts) -> None:
        super().__init__(CONFIG, facts)
        self.data = data
        self.unheard: list[SegmentResponse] = []
        self.apart: dict[tuple[str, str], Decimal] = defaultdict(Decimal)  # decided by people beside the accounts
        self.calm = False  # everything is booked from now on

    def take(self, report: SegmentResponse) -> None:
        """The agent takes a message once; what it proposes meets its fate."""
        if report.id in self.seen:
            return
        self.seen.add(report.id)
        keys = self.flow.state_keys(report)
        before = [self.states.get(key, {}) for key in keys]
        proposal, after = self.flow.propose(report, self.facts, None, before)
        self.states.update(zip(keys, after, strict=True))
        for number, draft in enumerate(proposal.drafts):
            payload: Mapping[str, Any] = draft.payload
            place, quantity = (payload["material"], payload["batch"]), self._signed(payload)
            assert quantity > 0 or proposal.holds
            fate = "booked" if self.calm else self.data.draw(st.sampled_from(FATES))
            instead = {**payload, "quantity": "0.500"} if fate == "corrected" else None
            booked = self._signed(instead or payload) if fate in ("booked", "corrected") else Decimal(0)
            self.issued[place] += booked
            if payload.get("apart"):
                self.apart[place] += booked - quantity
            if fate != "booked":
                told = Unbooked(
                    len(self.seen) * 10 + number, "backflush", Kind.GOODS_ISSUE, AT, "refused", "anna", "no", payload,
                    fate == "refused by SAP", instead,
                )  # fmt: skip
                self.unheard += reports(told)

    def hear(self) -> None:
        """All of it, as the agent writes it and reads it again."""
        while self.unheard:
            made = own_events.event_of(self.unheard.pop())
            self.take(own_events.read(Event(1, own_events.SOURCE, made.topic, made.payload, AT)))

    @staticmethod
    def _signed(payload: Mapping[str, Any]) -> Decimal:
        return Decimal(payload["quantity"]) * (-1 if payload.get("movement") == "262" else 1)


@settings(max_examples=40)
@given(st.data(), st.lists(lots(), min_size=1, max_size=3), st.booleans())
def test_what_is_not_booked_is_not_counted_and_nothing_is_counted_twice(
    data: st.DataObject, told: list[Lot], strict: bool
):
    """SAP or people refuse, correct and take back whatever they like, and that is heard of late: it ends exact.

    What stands apart, the difference of a measurement that is in doubt, is in the books as a person said.
    """
    books = Fates(data, KNOWN.with_documents([("tolerance", STRICT)]) if strict else KNOWN)
    for message in data.draw(st.permutations(messages_of(told, by_time=False))):
        books.take(message)
        if data.draw(st.booleans()):
            books.hear()
    books.hear()
    books.calm = True
    books.take(produced("end", 0, 10_000, final=True))
    places = {*books.issued, *books.apart, *true_sums(told)}
    expected = {place: true_sums(told).get(place, Decimal(0)) + books.apart[place] for place in places}
    assert {place: books.issued[place] for place in places} == expected
    before = dict(books.issued)
    books.take(produced("again", 0, 20_000, final=True))
    assert books.issued == before


class Two(Books):
    """Backflush issues resin, consumption pigment; a report of either kind goes to who issues its material."""

    def __init__(self) -> None:
        ahead = CONFIG.model_copy(update={"issues": (Share(material="RM-RESIN"),)})
        super().__init__(ahead, KNOWN)
        measured = consumption.Config(double_report_seconds=0, rare=0, issues=(Share(material="RM-PIGMENT"),))
        flows: dict[str, Any] = {
            "production": self.flow,
            "measured": self.flow,
            "consumption": consumption.Consumption(measured),
        }
        kinds = {kind: Assignment(flow, {}, Rule(), shares=flow) for kind, flow in flows.items()}
        self.rules = Rules("1", None, KNOWN, kinds, timedelta(0))  # type: ignore[arg-type]  # nothing is read here

    def take(self, report: SegmentResponse) -> None:
        found = self.rules.whose(report)
        assert found is not None
        self.flow = found.workflow  # type: ignore[assignment]  # whichever takes it
        super().take(report)


@settings(max_examples=40)
@given(st.data(), st.lists(lots(), min_size=1, max_size=3))
def test_two_workflows_that_issue_different_materials_never_issue_one_twice(data: st.DataObject, told: list[Lot]):
    """Pieces and measurements come in any order, of either kind: each material is booked as it was measured, once."""
    told = [(pieces, {name: (round(weight, 3), "KGM", batch) for name, (weight, _, batch) in weighed.items()})
            for pieces, weighed in told]  # fmt: skip
    books = Two()
    for message in data.draw(st.permutations(messages_of(told, by_time=False))):
        kinds = [message.kind] if message.kind == "production" else ["measured", "consumption"]
        books.take(message._replace(kind=data.draw(st.sampled_from(kinds))))
    assert {key: value for key, value in books.issued.items() if value} == {
        key: value for key, value in true_sums(told).items() if value
    }


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.booleans())
def test_what_nobody_measures_is_issued_once_as_the_bill_says(told: list[int], totals: bool):
    """However pieces are told, as what came or as totals, pigment is issued for all of them together, once."""
    books = Books(CONFIG.model_copy(update={"totals": totals}))
    for number in range(len(told)):
        pieces = sum(told[: number + 1]) if totals else told[number]
        books.take(produced(f"P{number}", pieces, number, final=number == len(told) - 1))
    exact = Fraction(sum(told)) * Fraction("0.045") + Fraction("0.05")
    assert books.issued["RM-PIGMENT", ""] == Decimal(int(rounded(exact, STEP) * 1000)) / 1000
    assert ("RM-RESIN", "") not in books.issued  # managed in batches, and none is known


@given(st.permutations([(1.0, 10), (2.0, 25), (3.0, 22), (4.0, 40)]), st.integers(0, 5))
def test_totals_may_come_in_any_order(reports: list[tuple[float, int]], until: int):
    """What counts is the total with the latest time, also where it was corrected downwards."""
    made = Made(totals=True)
    for at, total in reports:
        made = made.after(at, Fraction(total))
    assert made.pieces == 40
    assert made.by(until) == {0: 0, 1: 10, 2: 25, 3: 22}.get(until, 40)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(-5, 20)), max_size=150), st.integers(0, 100))
def test_pieces_are_the_sum_of_all_reports(reports: list[tuple[int, int]], until: int):
    """Old reports are put together, and none is forgotten."""
    made = Made()
    for at, pieces in reports:
        made = made.after(float(at), Fraction(pieces))
    assert made.pieces == max(0, sum(pieces for _, pieces in reports))
    if len(reports) <= 100:
        assert made.by(until) == max(0, sum(pieces for at, pieces in reports if at <= until))


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 300))
def test_a_measurement_takes_the_place_of_the_expectation(pieces: int, lot: int, grams: int):
    """What is known is the measurement and the expectation for the pieces beside it, never both for one piece."""
    made = Made().after(1.0, Fraction(pieces))
    before = Account().due(made, Fraction(1, 10), STEP).get("", Fraction(0))
    after = Account().with_measurement("", Fraction(grams, 1000), Fraction(lot), 2.0)
    due = after.due(made, Fraction(1, 10), STEP).get("", Fraction(0))
    assert before == Fraction(pieces, 10)
    assert due == Fraction(grams, 1000) + Fraction(max(0, pieces - lot), 10)
