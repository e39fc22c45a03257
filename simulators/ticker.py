"""What a person reads while the bench runs: short aligned lines of who did what, from the line to SAP."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

LINES_PER_SECOND = 8  # of each speaker; what is more is counted
READ_SECONDS = 0.2
VERBS = {"261": "issued", "262": "taken back", "344": "blocked", "343": "freed"}
CHANGED = {
    "order_release": "order {order} released",
    "order_change": "order {order} changed",
    "count_entry": "count document {number}: its count entered",
    "count_difference": "count document {number}: the difference posted",
}
VERBS |= dict.fromkeys(("551", "553", "555"), "scrapped")


class Ticker:
    """Prints `time  who  what`, counts who said how much, and thins out what nobody could read."""

    def __init__(self, write: Callable[[str], None] = print, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts = Counter[str]()
        self.reported = asyncio.Event()  # the line has said something
        self._write, self._clock = write, clock
        self._second = 0
        self._shown, self._hidden = Counter[str](), Counter[str]()

    def say(self, who: str, what: str) -> None:
        """Print one line, always."""
        self._write(f"{datetime.now().astimezone():%H:%M:%S}  {who:<6}  {what}")

    def happened(self, who: str, what: str) -> None:
        """Count one event, and print it unless its speaker has said enough in this second."""
        self.counts[who] += 1
        if who == "line":
            self.reported.set()
        self._turn_of_second()
        if self._shown[who] < LINES_PER_SECOND:
            self._shown[who] += 1
            self.say(who, what)
        else:
            self._hidden[who] += 1

    def _turn_of_second(self) -> None:
        second = int(self._clock())
        if second == self._second:
            return
        for who, hidden in self._hidden.items():
            self.say(who, f"… and {hidden} more")
        self._second = second
        self._shown.clear()
        self._hidden.clear()


class Tail:
    """A file that another process appends lines to. Raises FileNotFoundError when it is not there."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._rest = b""

    def fresh(self) -> list[str]:
        """The lines that were completed since the last call."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


async def tell(ticker: Ticker, truth: Path, books: Path, log: Path) -> None:
    """Say what the line reports, what SAP books and what people should see of the agent's log, until cancelled."""
    with closing(Tail(truth)) as line, closing(Tail(books)) as sap, closing(Tail(log)) as agent:
        while True:
            documents = sap.fresh()  # read first and said last: no document is told before its report
            for report in line.fresh():
                ticker.happened("line", reported(json.loads(report)))
            for document in documents:
                ticker.happened("SAP", booked(json.loads(document)))
            for line_of_log in filter(None, map(logged, agent.fresh())):
                ticker.happened("agent", line_of_log)
            await asyncio.sleep(READ_SECONDS)


def reported(truth: Mapping[str, Any]) -> str:
    """A line of the truth log in words."""
    twist = f"   [sent wrongly: {_wrongly(truth)}]" if truth["misbehaviour"] else ""
    return f"{truth['id']} reported {_content(truth)} for order {truth['order']}{twist}"


def _wrongly(truth: Mapping[str, Any]) -> str:
    """What is wrong about it, and under which other names it was sent."""
    others = [one for one in truth.get("ids", ()) if one != truth["id"]]
    return str(truth["misbehaviour"]).replace("_", " ") + (f", again as {', '.join(others)}" if others else "")


_SEEN = {"consumption": "used", "measured": "measured", "scrap": "found defective"}


def _content(truth: Mapping[str, Any]) -> str:
    if truth["kind"] in _SEEN:
        return f"{truth['quantity']} {truth['unit']} of {truth['material']} {_SEEN[truth['kind']]}"
    if truth["kind"] == "production":
        return _produced(truth["good"], truth["scrap"], truth["unit"], final=False)
    return _produced(truth["yield"], truth["scrap"], truth["unit"], final=truth["final"])


def _produced(good: str, scrap: str, unit: str, *, final: bool) -> str:
    waste = f" and {scrap} {unit} scrap" if float(scrap) else ""
    return f"{good} {unit} made{waste}{', order finished' if final else ''}"


def booked(document: Mapping[str, Any]) -> str:
    """A line of the simulated SAP's books in words."""
    order = f" for order {document['order']}" if document.get("order") else ""
    header = document.get("header", {})
    if document.get("kind") == "confirmation":
        what = _produced(
            str(document.get("yield_quantity", "0")),
            str(document.get("scrap_quantity", "0")),
            header.get("ConfirmationUnit") or "",
            final=bool(document.get("final")),
        )
        return f"confirmation {document['number']}: {what}{order}"
    moved = ", ".join(_moved(row) for row in document.get("items", []))
    kind = document.get("kind", "material_document")
    if kind in CHANGED:
        return CHANGED[kind].format(order=document["order"], number="/".join(document["number"].split("/")[:2]))
    if kind != "material_document":
        return f"{kind.replace('_', ' ')} {document['number']}{order}"
    return f"material document {document['number']}: {moved}{order}"


def _moved(item: Mapping[str, Any]) -> str:
    movement = item.get("GoodsMovementType", "")
    verb = VERBS.get(movement, "moved")
    return f"{item.get('QuantityInEntryUnit')} {item.get('EntryUnit')} of {item.get('Material')} {verb} ({movement})"


def logged(line: str) -> str:
    """What a line of the agent's log says that people should see, in its own words; else empty.

    Warnings, errors with their level before them, and what is well again or has changed on purpose.
    """
    return next(filter(None, found.groups())) if (found := _FOR_PEOPLE.match(line)) else ""


_FOR_PEOPLE = re.compile(
    r"\S+ (?:WARNING +(.+)|((?:ERROR|CRITICAL) .+)"
    r"|INFO +((?:source \S+ (?:back|connected)|sparkplug_node connected|model \S+ decides|configuration reloaded).*))"
)
DECISIONS = "gatepost_decisions_total"  # of reports: what follows from one about scrap may be a note alone
WATCHED = {
    "gatepost_events_total": "{result} from {source}",
    DECISIONS: "{workflow}(s) {route}",
    "gatepost_postings_total": "{kind}(s) {result} at {target}",
}
LOOK = {" held": "gatepost approvals list", " advised": "gatepost advised"}  # by the end of a phrase
_SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def totals(metrics: str) -> Counter[str]:
    """What the agent's Prometheus page counts, by a phrase such as `consumption(s) held`."""
    counted = Counter[str]()
    for name, labels, value in _SAMPLE.findall(metrics):
        if name in WATCHED:
            phrase = WATCHED[name].format_map(defaultdict(lambda: "?", _LABEL.findall(labels)))
            phrase = phrase.replace("_", " ").replace(" posted", " to post")  # decided, not yet at the ERP
            phrase = phrase.replace("scrap(s) ", "report(s) about scrap ") if name == DECISIONS else phrase
            counted[phrase] = int(float(value))
    return counted


def progress(before: Counter[str], after: Counter[str], look: Mapping[str, str] = LOOK) -> str:
    """What the agent did between two scrapes; empty when nothing. What needs a person names the command of `look`."""
    gained = after - before
    done = ", ".join(_counted(count, phrase) for phrase, count in gained.items())
    return done + "".join(
        f"   [{command}]" for end, command in look.items() if any(one.endswith(end) for one in gained)
    )


def _counted(count: int, phrase: str) -> str:
    noun, mark, rest = phrase.partition("(s)")
    return f"{many(count, noun)}{rest}" if mark else f"{count} {phrase}"


def many(count: int, noun: str) -> str:
    """So many of them."""
    ending = "" if count == 1 else "es" if noun.endswith(("sh", "ch", "s", "x")) else "s"
    return f"{count} {noun}{ending}"


def unconnected(metrics: str) -> list[str]:
    """The sources that the agent's Prometheus page shows as not connected."""
    return [
        labels
        for name, labels, value in _SAMPLE.findall(metrics)
        if name == "gatepost_source_connected" and float(value) == 0
    ]
