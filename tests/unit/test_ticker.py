"""What a person reads while the bench runs."""

import asyncio
import json

import pytest

from simulators.ticker import (
    LINES_PER_SECOND,
    Tail,
    Ticker,
    booked,
    logged,
    many,
    progress,
    reported,
    tell,
    totals,
    unconnected,
)

CONSUMPTION = {
    "kind": "consumption",
    "id": "MIX-01-000001",
    "order": "1000100",
    "material": "RM-RESIN",
    "quantity": "11.661",
    "unit": "KG",
    "misbehaviour": "",
}
CONFIRMATION = {
    "kind": "confirmation",
    "id": "MIX-01-000003",
    "order": "1000100",
    "yield": "10.2",
    "scrap": "0.5",
    "unit": "KG",
    "final": True,
    "misbehaviour": "usage_200",
}
SCRAPE = """# HELP gatepost_decisions_total Decisions, by their route.
gatepost_decisions_total{workflow="consumption",route="posted"} 3.0
gatepost_decisions_total{workflow="consumption",route="held"} 1.0
gatepost_postings_total{target="s4",kind="goods_issue",result="acknowledged"} 3.0
gatepost_store_wal_bytes 4096.0
gatepost_progress_timestamp_seconds{loop="intake"} 1.7e+09
"""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_report_is_told_in_words():
    """Quantity, material and order of a consumption; yield, scrap and the end of an order of a confirmation."""
    assert reported(CONSUMPTION) == "MIX-01-000001 reported 11.661 KG of RM-RESIN used for order 1000100"
    assert reported(CONFIRMATION) == (
        "MIX-01-000003 reported 10.2 KG made and 0.5 KG scrap, order finished for order 1000100"
        "   [sent wrongly: usage 200]"
    )


def test_pieces_and_measurements_are_told_in_words():
    """So does a line that backflushes."""
    measured = CONSUMPTION | {"kind": "measured"}
    assert reported(measured) == "MIX-01-000001 reported 11.661 KG of RM-RESIN measured for order 1000100"
    made = CONSUMPTION | {"kind": "production", "good": "3.0", "scrap": "0", "unit": "KG"}
    assert reported(made) == "MIX-01-000001 reported 3.0 KG made for order 1000100"


def test_a_booked_document_is_told_in_words():
    """The number of the document, what it moved or confirmed, and the order."""
    issue = {"GoodsMovementType": "261", "QuantityInEntryUnit": "11.661", "EntryUnit": "KG", "Material": "RM-RESIN"}
    document = {"kind": "material_document", "number": "2026/4900000001", "order": "1000100", "items": [issue]}
    assert booked(document) == "material document 2026/4900000001: 11.661 KG of RM-RESIN issued (261) for order 1000100"
    confirmation = {
        "kind": "confirmation",
        "number": "0000000101/00000001",
        "order": "1000100",
        "header": {"ConfirmationUnit": "KG"},
        "yield_quantity": "10.2",
        "scrap_quantity": "0",
        "final": False,
    }
    assert booked(confirmation) == "confirmation 0000000101/00000001: 10.2 KG made for order 1000100"


async def test_no_document_is_told_before_its_report(tmp_path):
    """What the files gained between two looks is told in the order of cause and effect; the agent's warnings too."""
    truth, books, log, written = tmp_path / "truth", tmp_path / "books", tmp_path / "log", list[str]()
    log.write_text("2026-11-20T22:29:24.187Z INFO    ready\n2026-11-20T22:29:24.187Z WARNING target s4 is down\n")
    books.write_text(json.dumps({"kind": "material_document", "number": "2026/1", "order": "1000100"}) + "\n")
    truth.write_text(json.dumps(CONSUMPTION) + "\n")
    all_told = asyncio.Event()

    def write(line: str) -> None:
        written.append(line)
        if len(written) == 3:
            all_told.set()

    telling = asyncio.create_task(tell(Ticker(write), truth, books, log))
    async with asyncio.timeout(30):
        await all_told.wait()
    telling.cancel()
    assert [line.split()[1] for line in written] == ["line", "SAP", "agent"]
    assert written[-1].endswith("  agent   target s4 is down")


def test_a_line_that_is_still_being_written_is_told_once_it_is_whole(tmp_path):
    """Half a line stays until its end is there."""
    path = tmp_path / "truth"
    path.write_bytes(b"one\ntw")
    tail = Tail(path)
    assert tail.fresh() == ["one"]
    with path.open("ab") as file:
        file.write(b"o\n")
    assert tail.fresh() == ["two"]
    assert tail.fresh() == []
    tail.close()


def test_the_agent_is_told_by_what_its_counters_gained():
    """Only what the agent counts about its work is read from the metrics, and only gains are told."""
    before = totals(SCRAPE)
    after = totals(
        SCRAPE.replace('"posted"} 3.0', '"posted"} 5.0').replace('"acknowledged"} 3.0', '"acknowledged"} 4.0')
    )
    assert progress(before, after) == "2 consumptions to post, 1 goods issue acknowledged at s4"
    assert progress(after, after) == ""
    about_scrap = totals('gatepost_decisions_total{workflow="scrap",route="held"} 2.0')
    assert progress(totals(""), about_scrap, {}) == "2 reports about scrap held"  # one may be a note alone


def test_several_are_told_in_the_plural_and_one_in_the_singular():
    """Workflows and kinds get their s; what has no noun, such as `stored from line`, gets none."""
    page = SCRAPE + 'gatepost_events_total{source="line",result="stored"} 2.0\n'
    told = progress(totals(""), totals(page))
    assert told.startswith(
        "3 consumptions to post, 1 consumption held, 3 goods issues acknowledged at s4, 2 stored from line"
    )


def test_a_plural_is_english():
    """A word that ends in a hissing sound gets es."""
    assert [many(2, "backflush"), many(1, "document"), many(0, "report")] == [
        "2 backflushes",
        "1 document",
        "0 reports",
    ]


def test_a_report_that_comes_twice_names_the_second():
    """Whoever follows the numbers knows which one is the same again."""
    twice = CONSUMPTION | {"misbehaviour": "double_report", "ids": ["MIX-01-000001", "MIX-01-000002"]}
    assert reported(twice).endswith("[sent wrongly: double report, again as MIX-01-000002]")
    assert reported(twice | {"ids": ["MIX-01-000001"] * 2}).endswith("[sent wrongly: double report]")


def test_what_changes_an_order_is_told_in_words():
    """The release of an order and a change of it are no documents with a number of their own."""
    released = {"kind": "order_release", "number": "1000124/2", "order": "1000124"}
    assert booked(released) == "order 1000124 released"
    assert booked(released | {"kind": "order_change"}) == "order 1000124 changed"
    counted = {"kind": "count_entry", "number": "2026/100000001/1/1", "order": ""}
    assert booked(counted) == "count document 2026/100000001: its count entered"


def test_a_story_names_no_command_for_what_it_decides_itself():
    """Who typed it would read that nothing waits."""
    after = totals(SCRAPE.replace('"held"} 1.0', '"held"} 2.0'))
    assert progress(totals(SCRAPE), after, {}) == "1 consumption held"


def test_a_held_posting_is_told_with_the_command_that_shows_it():
    """Whoever reads that something is held also reads how to look at it."""
    after = totals(SCRAPE.replace('"held"} 1.0', '"held"} 2.0'))
    assert progress(totals(SCRAPE), after) == "1 consumption held   [gatepost approvals list]"
    advised = totals(SCRAPE + 'gatepost_decisions_total{workflow="consumption",route="advised"} 1.0\n')
    assert progress(totals(SCRAPE), advised) == "1 consumption advised   [gatepost advised]"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("WARNING source line lost: keep-alive", "source line lost: keep-alive"),
        ("INFO    source line back: mqtt://127.0.0.1:18830", "source line back: mqtt://127.0.0.1:18830"),
        ("INFO    configuration reloaded config=0c54", "configuration reloaded config=0c54"),
        ("INFO    model consumption_anomaly/2 decides from now on, by anna: better", None),
        ("ERROR   the configuration was not reloaded, the old one goes on: x", None),
        ("INFO    archived 12 events and 3 postings to x", ""),
        ("INFO    ready", ""),
    ],
)
def test_what_people_should_see_of_the_log_is_told(line: str, told: str | None):
    """Warnings and errors, sources that are back, promotions and reloads; what is routine is not."""
    expected = line if line.startswith("ERROR") else line.split(maxsplit=1)[1]
    assert logged(f"2026-11-20T19:03:11.120Z {line}") == (expected if told is None else told)


def test_a_source_that_is_not_connected_is_seen():
    """The bench lets the line start only when the agent listens."""
    page = 'gatepost_source_connected{source="line"} 0.0\ngatepost_source_connected{source="orders"} 1.0\n'
    assert unconnected(page) == ['source="line"']
    assert unconnected(SCRAPE) == []


def test_who_says_too_much_in_one_second_is_counted_instead():
    """Beyond the limit lines are hidden; the next second tells how many, and no count is lost."""
    written: list[str] = []
    clock = Clock()
    ticker = Ticker(written.append, clock)
    for number in range(LINES_PER_SECOND + 5):
        ticker.happened("line", f"report {number}")
    assert len(written) == LINES_PER_SECOND
    clock.now = 1.0
    ticker.happened("line", "the next")
    assert written[-2].endswith("… and 5 more")
    assert written[-1].endswith("the next")
    assert ticker.counts["line"] == LINES_PER_SECOND + 6
