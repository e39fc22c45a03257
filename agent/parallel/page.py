"""The page of a parallel run: for whoever decides whether a workflow may do more, what speaks for and against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from math import floor
from typing import Final

from agent.parallel.figures import JUDGED, Case, Comparison, People
from agent.parallel.htmlpage import figures, table, whole
from agent.parallel.svg import BLUE, FAINT, ORANGE, Axis, Line, bars, chart
from agent.units import UnitTable

MOST_MISSES: Final = 25
SAID: Final[Mapping[People, str]] = {
    People.SAME: "did the same",
    People.OTHERWISE: "did it otherwise",
    People.NOT: "did not do it",
    People.OPEN: "have not decided",
    People.UNKNOWN: "not known",
}
FEW: Final = 10  # cases
WAITS: Final = ((1, "< 1"), (5, "1–5"), (15, "5–15"), (60, "15–60"), (240, "1–4 h"), (float("inf"), "> 4 h"))
HOW: Final = """
<h2>How this was found</h2>
<p>A case is a decision on record that would book something. <i>By itself</i> is what the mode <code>auto</code> would
have posted without asking. What people did is what they approved, corrected, refused or took back, and, where a list
of the ERP's own documents was read, what they booked: the same order, material or operation and day, first with the
same quantity, then several reports as one sum, then with another quantity. <i>Surely</i>, <i>chance apart</i>, is the
lower end of the 95 % interval (Wilson): few cases are no evidence, however well they went. Minutes are those between
the report and the act of a person. Nothing here decides: a person changes <code>authority</code>.</p>
"""


def page(found: Sequence[Comparison], span: str, plant: str, currency: str, units: UnitTable) -> str:
    """The whole page."""
    told = {"plant": plant, "arrived": span, "workflows": ", ".join(one.workflow for one in found) or "none"}
    body = "\n".join(_workflow(one, currency, units) for one in found) or "<p>Nothing was decided in this time.</p>"
    return whole("What the agent would have done beside what people did", told, body + HOW)


def _workflow(one: Comparison, currency: str, units: UnitTable) -> str:
    shown = "verdict ready" if one.enough else "verdict"
    return f"""<h2>{escape(one.workflow)}: now in mode {escape(one.mode)}</h2>
<p class="{shown}">{escape(one.verdict())}</p>
{_headline(one, currency)}
<div class="side"><section><h2>What speaks for it</h2>{_list(one.speaks_for(currency))}</section>
<section><h2>What speaks against it</h2>{_list(one.speaks_against(currency))}</section></div>
{_counted(one, currency)}
<div class="side"><section><h2>Day by day</h2>{_days(one.cases)}</section>
<section><h2>How sure it must be</h2>
<p>The more it posts by itself, the less of it people would do the same. Dashed: what is asked for.</p>
{_curve(one)}</section></div>
{_waits(one)}
{_misses(one, currency, units)}"""


def _headline(one: Comparison, currency: str) -> str:
    same = one.agreement
    surely = f"; chance apart {same.bounds[0]:.1%}" if same.of else ""  # of none there is nothing to be sure of
    wrong = sum((case.value for case in one.misses), start=one.money([]))
    shown = [
        (str(len(one.cases)), "cases"),
        (
            f"{same.share:.1%}" if same.of else "–",
            f"the same of {same.of} by itself and judged{surely}",
        ),
        (str(len(one.misses)), "would have been posted wrongly"),
        (f"{wrong:,.2f}".replace(",", "\u202f"), f"{currency} wrongly posted"),
        (f"{sum(one.waits) / 60:.1f} h", "waited for people although it would not have asked"),
    ]
    return figures(shown)


def _list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(one)}</li>" for one in sentences or ["Nothing."]) + "</ul>"


def _counted(one: Comparison, currency: str) -> str:
    head = ["", *(SAID[people] for people in People), "worth"]
    rows = []
    for words, alone in (("would have posted by itself", True), ("would have asked a person", False)):
        counts = [str(one.count([people], alone=alone)) for people in People]
        rows.append([words, *counts, f"{one.money(People, alone=alone):.2f} {currency}"])
    return f"<h2>What it would have done, and what people did</h2>{table(head, rows)}"


def _days(cases: Sequence[Case]) -> str:
    days = sorted({one.at.date() for one in cases})
    stacks = []
    for day in days:
        of_day = Counter(
            "same" if one.people is People.SAME else "otherwise" if one.wrong else "unknown"
            for one in cases
            if one.at.date() == day
        )
        stacks.append((f"{day:%d %b}", [of_day["same"], of_day["otherwise"], of_day["unknown"]]))
    return bars(
        "cases per day", "cases", stacks, [("people the same", BLUE), ("otherwise", ORANGE), ("not known", FAINT)]
    )


def _curve(of: Comparison) -> str:
    """Share that would be posted by itself, and share of these that people did the same, over the bar."""
    judged = sorted((one for one in of.cases if one.people in JUDGED), key=lambda one: -one.confidence)
    if not judged:
        return "<p class='quiet'>Nothing is judged yet.</p>"
    points, right = [], 0
    for number, one in enumerate(judged, start=1):
        right += one.people is People.SAME
        points.append((number / len(judged), right / number))
    few = min(len(points) - 1, FEW)  # of so few the share jumps: they say nothing yet
    across, asked = Axis(0, 1, "share posted by itself, surest first"), of.asked.share
    least = min(asked, *(right for _, right in points[few:]))
    low = max(0, floor(least * 20 - 1) / 20)
    up = Axis(low, 1, "share the same", tuple(low + (1 - low) * step / 4 for step in range(5)))
    lines = [Line(points[few:]), Line([(0, asked), (1, asked)], ORANGE, dashed=True)]
    return chart("share that is the same over share posted", across, up, lines)


def _waits(one: Comparison) -> str:
    waits = [case.waited_min for case in one.cases if case.waited_min is not None]
    if not waits:
        return ""
    counted = Counter(next(name for most, name in WAITS if minutes < most) for minutes in waits)
    stacks = [(name, [counted[name]]) for _, name in WAITS]
    drawn = bars("minutes until a person acted", "cases", stacks, [("cases", BLUE)])
    return f"<h2>How long people took (minutes)</h2>{drawn}"


def _misses(one: Comparison, currency: str, units: UnitTable) -> str:
    if not one.misses:
        return ""
    rows = [
        [
            str(case.event), f"{case.at:%Y-%m-%d %H:%M}", case.posts[0].order, case.posts[0].about,
            f"{case.posts[0].quantity:f} {units.shown(case.posts[0].unit)}", f"{case.value:.2f} {currency}", case.how,
        ]
        for case in one.misses[:MOST_MISSES]
    ]  # fmt: skip
    more = f"<p>and {len(one.misses) - MOST_MISSES} more</p>" if len(one.misses) > MOST_MISSES else ""
    head = ["event", "arrived (UTC)", "order", "about", "quantity", "worth", "people"]
    drawn = table(head, rows, texts=(1, 2, 3, 6))
    return f"<h2>What it would have posted wrongly, dearest first</h2>{drawn}{more}"
