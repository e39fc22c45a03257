"""Train the model that says where the account table may be wrong.

    python -m models.posting_classification.train [folder]

The ledger is simulated: there are no public labels of this kind. The same seeds give the same files.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Final

from agent.features.posting_classification import CATEGORIES, NUMBERS
from agent.masterdata.accounts import Accounts, read
from models import shipped
from models.posting_classification.simulate import Line, ledger
from models.training.columns import Category, Columns, Number
from models.training.pipeline import Origin, Trained, train
from models.training.table import Data

HERE: Final = Path(__file__).parent
VERSION: Final = "1"
SEEDS: Final = (1, 2, 3, 4)  # one plant's materials each; the last is judged
LINES: Final = 1_000
BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS: Final = Columns(
    target="account",
    time="posted",
    numbers={
        "log_price": Number(text="price", unit="per base unit, log10", least=Decimal(-4), most=Decimal(6)),
        "log_quantity": Number(text="quantity", unit="base units, log10", least=Decimal(-4), most=Decimal(9)),
        "log_value": Number(text="value", unit="log10", least=Decimal(-4), most=Decimal(12)),
    },
    categories={name: Category(text=name.replace("_", " ")) for name in CATEGORIES},
    test_share=Decimal("0.25"),
    learner="linear",
    right=Decimal("0.95"),
)
ABOUT: Final = """
**It does not decide.** The table of accounts (`edge_config/accounts.yaml`) does; where the model gives the table's
account less than one chance in twenty, it says so and names the account that it holds for right.
**There are no public labels.** Nobody publishes a ledger with its corrections. The lines are made by a simulated plant
from the table of the bench, with one posting in a hundred booked wrongly. Its figures say that it finds again what was
put in. Train it on your own ledger (`gatepost models train`) before you listen to it.
"""


def table_of_the_bench() -> Accounts:
    """The table that the bench's accounts come from."""
    return read(str(shipped.ROOT / "edge_config" / "accounts.yaml"))


def data(lines: list[Line]) -> Data:
    """What was booked, in order."""
    rows = tuple({name: line.features[name] for name in (*NUMBERS, *CATEGORIES)} for line in lines)
    target = tuple(line.booked for line in lines)
    times = tuple(BEGAN + timedelta(minutes=at) for at in range(len(lines)))
    return Data(rows, target, times, sha256(repr((rows, target)).encode()).hexdigest())


def trained() -> Trained:
    """The version, proven and judged; nothing is written."""
    accounts = table_of_the_bench()
    lines = [line for seed in SEEDS for line in ledger(seed, accounts, LINES)]
    origin = Origin(
        f"a simulated ledger of {len(SEEDS)} plants with {LINES} lines each",
        ABOUT,
        "It has no say about accounts that it was not trained with: the table alone decides there.",
        decides=False,
    )
    return train(HERE.name, data(lines), COLUMNS, origin, version=VERSION)


if __name__ == "__main__":
    shipped.write(trained())
