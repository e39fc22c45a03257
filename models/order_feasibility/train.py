"""Train the model that says how likely a released order starts and finishes on time.

    python -m models.order_feasibility.train [folder]

The data are simulated: generated routes in many kinds of shops, from hardly busy to choked, with breakdowns, set-ups,
worn machines and late material, asked about at release. The features are computed by the same pure function that
serves; more of a queue never makes an order likelier to be on time, nor does less OEE. The same seeds, the same files.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Final

from agent.features.order_feasibility import CLASSES, FEATURES, features
from models import shipped
from models.order_feasibility.rows import outcome
from models.order_feasibility.simulate import any_floor, any_routes, run
from models.training.columns import Columns, Number
from models.training.pipeline import Origin, Trained, train
from models.training.table import Data

HERE: Final = Path(__file__).parent
VERSION: Final = "3"
RUNS: Final = tuple(range(1, 61))  # each its own shop and routes
ORDERS: Final = 400
BEGAN: Final = datetime(2000, 1, 1, tzinfo=UTC)  # of the first run; the runs follow each other, the last are judged.
# No plant has labels of that time: with later dates the version would seem to have learnt from them.

HOURS: Final = {
    "slack_h": "time left beyond its own work",
    "work_h": "its own work",
    "material_wait_h": "until its material is there",
    "ahead_first_h": "work before it at its first work centre",
    "ahead_sum_h": "work before it on its route",
    "ahead_max_h": "work before it at the fullest work centre",
    "coming_sum_h": "work that earlier orders still bring to its route",
    "behind_sum_h": "work on its route that is due later",
    "down_h": "until everything on its route runs",
    "set_up_h": "set-ups on its route",
    "start_margin_h": "between planned start and first free work centre",
    "finish_margin_h": "between due date and expected finish",
    "flow_margin_h": "between due date and finish at the usual pace",
}
SIGNED: Final = ("slack_h", "start_margin_h", "finish_margin_h", "flow_margin_h")  # below zero: too late already
PLAIN: Final = {
    "critical_ratio": Number(text="time left over its own work", least=Decimal(-20), most=Decimal(100)),
    "steps": Number(text="operations", least=Decimal(1), most=Decimal(60)),
    "oee_mean": Number(text="effectiveness of its work centres", least=Decimal(0), most=Decimal(2)),
    "oee_least": Number(text="effectiveness of the worst of them", least=Decimal(0), most=Decimal(2)),
    "flow_factor": Number(text="recent flow time over work", least=Decimal("0.5"), most=Decimal(50)),
    "late_share": Number(text="recent share of late orders", least=Decimal(0), most=Decimal(1)),
}
NUMBERS: Final = PLAIN | {
    name: Number(text=text, unit="h", least=Decimal(-1000 if name in SIGNED else 0), most=Decimal(1000))
    for name, text in HOURS.items()
}
RAISES: Final = {*SIGNED, "critical_ratio", "oee_mean", "oee_least"}  # more of any other is never better


def _bound(name: str) -> Number:
    return NUMBERS[name].model_copy(update={"more": "raises" if name in RAISES else "lowers"})


COLUMNS: Final = Columns(
    target="outcome",
    time="released",
    order=CLASSES,
    numbers={name: _bound(name) for name in FEATURES},  # the model's row is in this order
    learner="boosting",
    right=Decimal("0.95"),
)
DIRECTIONS: Final = tuple(one.direction for one in COLUMNS.numbers.values())
ABOUT: Final = """
**More work is never better.** Nothing that waits, is coming, must be set up, is down or was late lately makes an order
likelier to be on time, and no OEE that is lower: the trees are built so, for the whole range of every input.

**Hard rules come first.** A component that is not there, a work centre that is down beyond the slack, a missing
certificate block an order by themselves; this model is asked about what is left. The probability to start *and* finish
on time is that of `on time`; to finish on time, that of `on time` and `late start` together.
"""


def data() -> Data:
    """The orders of all runs in order of release."""
    rows, target, times = [], [], []
    for place, seed in enumerate(RUNS):
        for at, case in enumerate(run(seed, any_routes(seed), ORDERS, any_floor(seed))):
            rows.append(dict(zip(FEATURES, features(case.asked, case.shop), strict=True)))
            target.append(CLASSES[outcome(case)])
            times.append(BEGAN + timedelta(weeks=place, minutes=at))
    told = repr((rows, target)).encode()
    return Data(tuple(rows), tuple(target), tuple(times), sha256(told).hexdigest())


def trained() -> Trained:
    """The version, proven and judged; nothing is written."""
    origin = Origin(
        f"{len(RUNS)} simulated shops of one to twelve work centres, {ORDERS} orders of each, no real plant",
        ABOUT,
        "A plant that does not go by due dates, or whose planned times are not those it takes, behaves otherwise.",
    )
    return train(HERE.name, data(), COLUMNS, origin, version=VERSION)


if __name__ == "__main__":
    shipped.write(trained())
