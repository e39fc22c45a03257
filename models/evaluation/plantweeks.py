"""Simulated weeks of a plant with known truth: six lines, their silos, scales, people and books, and what goes wrong.

Every scale has a bias and a noise of its own, every recipe its own ratio to the bill of material. First lots take what
setting up takes, a change of batch costs a little, devices go away for hours and report later, people book by hand,
late, and several lots in one document; deliveries are booked after they were blown into the silo; gauges follow the
temperature of the day. What goes wrong is put in after two weeks. Imports nothing of what is measured with it but the
form in which observations are handed over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import exp, pi, sin
from random import Random
from typing import Final, NamedTuple

from agent.reconciliation.observed import Booked, InBooks, Level, Made, Material, Observation, Place, Plan, Used

BEGIN: Final = datetime(2026, 9, 7, tzinfo=UTC)  # a Monday
WARM_UP: Final = timedelta(days=14)
WEEKS: Final = 7
LINES: Final = 6
GRAM: Final = Decimal("0.001")
POUND: Final = Decimal("0.45359237")
POLL: Final = timedelta(minutes=10)
STOCK_POLL: Final = timedelta(hours=1)
SPARSE: Final = timedelta(days=1.5)  # between two things that go wrong with one silo
MOVEMENT_ERRORS: Final = 16  # of each sort and run
THEFTS, LEAKS, SWAPS = 6, 3, 4
SMALLEST, LARGEST = 2.0, 15.0  # of what goes wrong, in units of the noise
KINDS: Final = (
    "booked wrongly", "keyed wrongly", "booked in another unit", "keyed in another unit", "booked twice",
    "reported twice", "not booked", "not reported", "scrap", "taken instead",
)  # fmt: skip
CAUSE: Final = {
    "booked wrongly": "recording error",
    "keyed wrongly": "recording error",
    "booked in another unit": "unit error",
    "keyed in another unit": "unit error",
    "booked twice": "double report",
    "reported twice": "double report",
    "not booked": "missing report",
    "not reported": "missing report",
    "scrap": "scrap not reported",
    "taken instead": "substitution",
    "silo mixed up": "substitution",
    "leak": "leak",
    "theft": "theft",
}


class Truth(NamedTuple):
    """One thing that went wrong. `size` is in units of the noise of what it shows in."""

    kind: str
    materials: frozenset[str]
    order: str
    at: datetime
    until: datetime
    size: float

    @property
    def cause(self) -> str:
        """Its sort."""
        return CAUSE[self.kind]


@dataclass
class Weeks:
    """A run: what was seen, in order of arrival, and what is true."""

    arrivals: list[tuple[datetime, Observation]] = field(default_factory=list)
    truths: list[Truth] = field(default_factory=list)
    movements: int = 0  # reports after the first two weeks
    materials: dict[str, Material] = field(default_factory=dict)


@dataclass
class Silo:
    """A bulk material with its gauge; flows of what truly goes in and out."""

    place: Place
    capacity: float
    noise: float  # of one reading
    swing: float
    flows: list[tuple[datetime, float]] = field(default_factory=list)  # true
    receipts: list[tuple[datetime, float]] = field(default_factory=list)  # as booked
    taken: list[tuple[datetime, datetime]] = field(default_factory=list)  # when something goes wrong with it


@dataclass
class Scale:
    """How one work centre measures and takes one material."""

    ratio: float  # true use beside the bill of material
    bias: float
    noise: float  # of the process and the scale together, relative
    rough: float  # absolute


class Component(NamedTuple):
    """What one kilogram of a product takes of a place."""

    place: Place
    per: float
    counted: bool = False


@dataclass
class Lot:
    """One lot, as it truly was."""

    number: str
    order: str
    line: int
    at: datetime
    made: Decimal
    first: bool
    parts: list[Component]
    wrong: str = ""
    victim: int = 0  # which component


def simulate(seed: int) -> Weeks:
    """One run, from its seed alone."""
    return _Plant(Random(f"{seed}/plant")).run()


class _Plant:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.weeks = Weeks()
        self.end = BEGIN + timedelta(weeks=WEEKS)
        self.silos = [
            Silo(Place(f"BULK-{number}", "SILO"), 25_000.0, random.uniform(40, 100), random.uniform(5, 25))
            for number in range(LINES)
        ]
        self.products = [self._product(number) for number in range(LINES * 2)]
        self.scales = {
            (line, part.place.material): Scale(
                exp(random.gauss(0, 0.02)), random.gauss(0, 0.002), random.uniform(0.003, 0.012),
                random.uniform(0.01, 0.05),
            )
            for line in range(LINES) for number in (line * 2, line * 2 + 1) for part in self.products[number]
        }  # fmt: skip
        self.outages = [self._outages() for _ in range(LINES)]
        self.bookings: list[Booked] = []
        for silo in self.silos:
            self.weeks.materials[silo.place.material] = Material("KGM", GRAM, {"lb": float(POUND), "g": 0.001})
        for parts in self.products:
            for part in parts[2:]:
                unit = (
                    Material("C62", Decimal(1))
                    if part.counted
                    else Material("KGM", GRAM, {"lb": float(POUND), "g": 0.001})
                )  # one line a sort
                self.weeks.materials[part.place.material] = unit
                self.weeks.materials[f"{part.place.material}-ALT"] = unit

    def _product(self, number: int) -> list[Component]:
        random = self.random
        one, other = random.sample(range(LINES), 2)
        parts = [
            Component(self.silos[one].place, random.uniform(0.5, 0.7)),
            Component(self.silos[other].place, random.uniform(0.25, 0.45)),
            Component(Place(f"COLOUR-{number}", "BAGS"), random.uniform(0.01, 0.05)),
        ]
        if random.random() < 0.6:
            parts.append(Component(Place(f"CAN-{number}", "PACK"), 0.2, counted=True))
        return parts

    def _outages(self) -> list[tuple[datetime, datetime]]:
        """Once a week or so a line's gateway is away for some hours; what it has to say comes afterwards."""
        found, at = [], BEGIN
        while at < self.end:
            at += timedelta(days=self.random.expovariate(1 / 7))
            found.append((at, at + timedelta(hours=self.random.uniform(0.5, 6))))
        return found

    # ── what is made ────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> Weeks:
        lots = [lot for line in range(LINES) for lot in self._lots(line)]
        self._spoil(lots)
        for lot in sorted(lots, key=lambda one: one.at):
            self._play(lot)
        self._silos_go_wrong()
        self._silo_readings()
        self._polls()
        self.weeks.arrivals.sort(key=lambda one: one[0])
        return self.weeks

    def _lots(self, line: int) -> Iterator[Lot]:
        random, at, order = self.random, BEGIN + timedelta(hours=6), 0
        while at < self.end - timedelta(days=5):  # what is late at the end is still told
            order += 1
            product = self.products[line * 2 + random.randrange(2)]
            size, name = random.choice((300, 500, 800)), f"{line}{order:05d}"
            self._say(at, Plan(name, tuple((part.place, part.per) for part in product)))
            for number in range(random.randint(4, 12)):
                at += timedelta(minutes=random.uniform(40, 70))
                if at.hour >= 22 or at.hour < 6 or at.weekday() == 6:
                    at = _morning(at)
                made = Decimal(size if random.random() < 0.8 else round(size * random.uniform(0.4, 1.0)))
                yield Lot(f"{name}-{number}", name, line, at, made, number == 0, product)

    def _spoil(self, lots: list[Lot]) -> None:
        late = [lot for lot in lots if lot.at > BEGIN + WARM_UP and not lot.first]
        chosen = iter(self.random.sample(late, MOVEMENT_ERRORS * len(KINDS)))
        for kind in KINDS:
            for _ in range(MOVEMENT_ERRORS):
                lot = next(chosen)
                lot.wrong = kind
                lot.victim = self.random.randrange(len(lot.parts))
                if lot.parts[lot.victim].counted and kind not in (
                    "booked twice",
                    "reported twice",
                    "not booked",
                    "not reported",
                ):
                    lot.victim = 2
                if kind == "taken instead":
                    lot.victim = 2

    def _play(self, lot: Lot) -> None:
        random = self.random
        set_up = exp(random.gauss(-4.2, 0.5)) if lot.first else 0.0
        more = self._scrap(lot) if lot.wrong == "scrap" else 0.0
        arrives = self._arrival(lot.line, lot.at + timedelta(minutes=3))
        if lot.line % 3 == 2:  # confirmed at the end of the shift, all lots of the order together
            self._confirm_later(lot)
        else:
            self._say(arrives, Made(f"m{lot.number}", lot.at + timedelta(minutes=3), lot.order, lot.made))
        for number, part in enumerate(lot.parts):
            self._part(lot, number, part, set_up + more)

    def _scrap(self, lot: Lot) -> float:
        noise = sorted(self.scales[lot.line, part.place.material].noise for part in lot.parts if not part.counted)
        size = self._size()
        materials = frozenset(part.place.material for part in lot.parts)
        self.weeks.truths.append(Truth("scrap", materials, lot.order, lot.at, lot.at, size))
        return size * noise[len(noise) // 2]

    def _part(self, lot: Lot, number: int, part: Component, more: float) -> None:
        random, scale = self.random, self.scales[lot.line, part.place.material]
        expected = part.per * float(lot.made)
        if part.counted:
            true = float(round(expected * (1 + more)) + sum(random.random() < 0.004 for _ in range(int(expected))))
            shown = Decimal(round(true))
            noise = max(1.0, 0.065 * expected**0.5)
        else:
            relative = random.gauss(0, scale.noise) * (2 if random.random() < 0.02 else 1)
            true = expected * scale.ratio * (1 + more) * (1 + relative)
            if random.random() < 0.05:  # the batch changes: the rest is dosed to the end
                true += abs(random.gauss(0, 0.2 * scale.noise)) * expected
            seen = true * (1 + scale.bias) + random.gauss(0, scale.rough)
            shown = Decimal(str(max(seen, 0.001))).quantize(GRAM)
            noise = (scale.noise**2 + (scale.rough / expected) ** 2) ** 0.5 * expected
        wrong = lot.wrong if number == lot.victim else ""
        place = part.place
        if wrong == "taken instead":
            place = Place(f"{place.material}-ALT", place.storage_location)
            self._truth(wrong, (part.place.material, place.material), lot, expected / noise)
        silo = next((one for one in self.silos if one.place == part.place), None)
        if silo is not None:
            silo.flows.append((lot.at, -true))
        told = self._keyed(wrong, shown, noise, lot, part.place.material)
        at = lot.at + timedelta(minutes=random.uniform(-10, 2))
        use = Used(
            f"{lot.number}/{number}", at, lot.order, place, told, 0.0 if wrong == "taken instead" else expected,
            lot.made, f"WC-{lot.line}",
        )  # fmt: skip
        if lot.at > BEGIN + WARM_UP:
            self.weeks.movements += 1
        if wrong == "not reported":
            self._truth(wrong, (place.material,), lot, expected / noise)
            if random.random() < 0.5:  # a person saw the paper slip and booked it
                self._book(lot, number, place, shown, use.at)
            return
        self._say(self._arrival(lot.line, at), use)
        if wrong == "reported twice":
            self._truth(wrong, (place.material,), lot, expected / noise)
            again = use._replace(id=f"{use.id}b", at=at + timedelta(minutes=random.expovariate(1 / 5)))
            self._say(self._arrival(lot.line, again.at), again)
            self._book(lot, number, place, told, again.at)
        self._book_rightly_or_not(lot, number, use, noise, wrong)

    def _keyed(self, wrong: str, shown: Decimal, noise: float, lot: Lot, material: str) -> Decimal:
        """What the report says where a person types it."""
        if wrong == "keyed wrongly":
            told = self._typed(shown, noise)
        elif wrong == "keyed in another unit":
            told = self._other_unit(shown)
        else:
            return shown
        self._truth(wrong, (material,), lot, abs(float(told - shown)) / noise)
        return told

    def _book_rightly_or_not(self, lot: Lot, number: int, use: Used, noise: float, wrong: str) -> None:
        booked = use.quantity
        if wrong == "booked wrongly":
            booked = self._typed(booked, noise)
        elif wrong == "booked in another unit":
            booked = self._other_unit(booked)
        if booked != use.quantity:
            self._truth(wrong, (use.place.material,), lot, abs(float(booked - use.quantity)) / noise)
        if wrong in ("not booked", "booked twice"):
            self._truth(wrong, (use.place.material,), lot, float(booked) / noise)
        if wrong != "not booked":
            self._book(lot, number, use.place, booked, use.at)
        if wrong == "booked twice":
            self._book(lot, number + 10, use.place, booked, use.at + timedelta(hours=self.random.expovariate(1)))

    def _truth(self, kind: str, materials: tuple[str, ...], lot: Lot, size: float) -> None:
        self.weeks.truths.append(Truth(kind, frozenset(materials), lot.order, lot.at, lot.at, size))

    def _typed(self, number: Decimal, noise: float) -> Decimal:
        """A slip of the point, two digits swapped, or a digit that is another; big enough to matter."""
        random, text = self.random, f"{number:f}"
        for _ in range(50):
            sort = random.random()
            if sort < 0.3:
                typed = number * random.choice((Decimal(10), Decimal("0.1")))
            else:
                digits = [at for at, letter in enumerate(text) if letter.isdigit()]
                at = random.randrange(len(digits) - 1)
                letters = list(text)
                if sort < 0.8:
                    one, other = digits[at], digits[at + 1]
                    letters[one], letters[other] = letters[other], letters[one]
                else:
                    letters[digits[at]] = random.choice("0123456789")
                typed = Decimal("".join(letters))
            typed = typed.quantize(GRAM)
            if typed > 0 and abs(float(typed - number)) >= SMALLEST * noise:
                return typed
        return number * 10

    def _other_unit(self, number: Decimal) -> Decimal:
        factor = self.random.choice((POUND, 1 / POUND, Decimal(1000), Decimal("0.001")))
        return max(GRAM, (number * factor).quantize(GRAM))

    # ── how it is told ──────────────────────────────────────────────────────────────────────────────────────

    def _say(self, arrives: datetime, observation: Observation) -> None:
        self.weeks.arrivals.append((arrives, observation))

    def _arrival(self, line: int, at: datetime) -> datetime:
        back = next((end for start, end in self.outages[line] if start <= at < end), at)
        return max(at, back) + timedelta(minutes=exp(self.random.gauss(0, 1.2)))

    def _confirm_later(self, lot: Lot) -> None:
        end = lot.at.replace(hour=14 if lot.at.hour < 14 else 22, minute=0, second=0, microsecond=0)
        key = (lot.order, end)
        self._shifts[key] += lot.made

    @property
    def _shifts(self) -> defaultdict[tuple[str, datetime], Decimal]:
        found: defaultdict[tuple[str, datetime], Decimal] = self.__dict__.setdefault("shifts", defaultdict(Decimal))
        return found

    def _book(self, lot: Lot, number: int, place: Place, quantity: Decimal, at: datetime) -> None:
        random = self.random
        if lot.line % 2:  # by machine
            when = at + timedelta(minutes=5 * exp(random.gauss(0, 1)))
        else:  # by hand, and later
            when = at + timedelta(hours=random.uniform(0.2, 6))
        self.bookings.append(Booked(f"b{lot.number}/{number}", when, lot.order, place, quantity))

    def _polls(self) -> None:
        for (order, end), quantity in self._shifts.items():
            at = end + timedelta(minutes=self.random.uniform(5, 50))
            self._say(at, Made(f"m{order}/{end:%d%H}", end, order, quantity))
        told: dict[tuple[str, Place, datetime], list[Booked]] = defaultdict(list)
        for one in self.bookings:
            told[one.order, one.place, _poll(one.at, POLL)].append(one)
        for (order, place, at), several in told.items():
            total = sum((one.quantity for one in several), Decimal(0))
            self._say(at, Booked(several[0].id, at, order, place, total))

    # ── silos ───────────────────────────────────────────────────────────────────────────────────────────────

    def _size(self) -> float:
        return float(SMALLEST * (LARGEST / SMALLEST) ** self.random.random())

    def _free(self, count: int, length: timedelta) -> tuple[list[Silo], datetime]:
        """Silos, and a time at which nothing else is wrong with them."""
        random = self.random
        span = (self.end - timedelta(days=8)) - (BEGIN + WARM_UP)
        while True:
            silos = random.sample(self.silos, count)
            at = BEGIN + WARM_UP + span * random.random()
            until = at + length
            if all(until + SPARSE < start or at > end + SPARSE for silo in silos for start, end in silo.taken):
                for silo in silos:
                    silo.taken.append((at, until))
                return silos, at

    def _silos_go_wrong(self) -> None:
        random, truths = self.random, self.weeks.truths
        for _ in range(LEAKS):
            length, size = timedelta(days=random.uniform(3, 5)), self._size() / 2 + 1
            (silo,), at = self._free(1, length)
            hours = int(length.total_seconds() / 3600)
            silo.flows += [(at + timedelta(hours=hour), -size * silo.noise / 24) for hour in range(hours)]
            name = frozenset((silo.place.material,))
            truths.append(Truth("leak", name, "", at, at + length, size))
        for _ in range(THEFTS):
            size = self._size()
            (silo,), at = self._free(1, timedelta(hours=1))
            silo.flows.append((at, -size * silo.noise))
            truths.append(Truth("theft", frozenset((silo.place.material,)), "", at, at, size))
        for _ in range(SWAPS):
            size = self._size()
            (one, other), at = self._free(2, timedelta(hours=1))
            amount = size * max(one.noise, other.noise)
            one.flows.append((at, -amount))
            other.flows.append((at, amount))
            names = frozenset((one.place.material, other.place.material))
            truths.append(Truth("silo mixed up", names, "", at, at, size))

    def _silo_readings(self) -> None:
        random = self.random
        for silo in self.silos:
            inside, flows, at, number = 20_000.0, sorted(silo.flows), BEGIN, 0
            books, pending = 20_000.0, 0.0
            taken = sorted(
                (one.at, float(one.quantity)) for one in self.bookings if one.place.material == silo.place.material
            )
            spent, receipts = 0, []
            while at < self.end:
                while number < len(flows) and flows[number][0] <= at:
                    inside += flows[number][1]
                    number += 1
                if inside < 0.3 * silo.capacity:
                    load = random.uniform(8_000, 15_000)
                    inside += load
                    receipts.append((at + timedelta(hours=random.uniform(0, 3)), load + random.gauss(0, 15)))
                swing = silo.swing * sin(2 * pi * (at.hour - 4) / 24)
                shown = round((inside + swing + random.gauss(0, silo.noise)) / 10) * 10
                self._say(at + timedelta(seconds=20), Level(at, silo.place, float(shown)))
                arrived = sum(load for when, load in receipts if when <= at)
                while spent < len(taken) and taken[spent][0] <= at:
                    pending += taken[spent][1]
                    spent += 1
                self._say(at + timedelta(seconds=1), InBooks(at, silo.place, books + arrived - pending))
                at += STOCK_POLL


def _morning(at: datetime) -> datetime:
    at = at if at.hour < 6 else at + timedelta(days=1)
    at = at.replace(hour=6, minute=10)
    return at + timedelta(days=1) if at.weekday() == 6 else at


def _poll(at: datetime, every: timedelta) -> datetime:
    since = at - BEGIN
    return BEGIN + every * (-(-since // every))
