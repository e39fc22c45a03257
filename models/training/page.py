"""The evaluation page: one HTML file with everything inside, for whoever decides whether a model may decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import isnan
from typing import Final

import numpy as np

from agent.parallel.htmlpage import figures, whole
from agent.parallel.svg import FAINT, ORANGE, Axis, Line, Note, chart
from models.training import measures
from models.training.judged import Drift, Judged

WARN, ALARM = 0.1, 0.25  # of the stability index; customary
MOST_DOTS: Final = 400  # points of a curve: more cannot be seen


def page(title: str, told: Mapping[str, str], judged: Judged) -> str:
    """The whole page; `told` are the lines below the title: data, protocol, learner …"""
    return whole(
        title,
        told,
        f"""{_headline(judged)}
<div class="side"><section><h2>When it may decide alone</h2>
<p>Accepting the most certain cases first. The bar was chosen on rows learnt from; the curve is of judged ones.</p>
{_curve(judged)}</section>
<section><h2>Does it know how sure it is?</h2>
<p>What it says against how often it is right. On the dashed line it is honest. Larger dots: more rows.</p>
{_reliability(judged)}</section></div>
<h2>What it takes for what</h2><div class="wide">{_confusion(judged)}</div>
<h2>Class by class</h2>{_classes(judged)}
<h2>Are the judged rows like those it learnt from?</h2>
<p>PSI of each raw input: above {WARN:g} another mix, above {ALARM:g} another population.</p>
{_drift(judged.drift)}""",
    )


def _headline(judged: Judged) -> str:
    found = judged.figures()
    shown = [
        (f"{found['accuracy']:.1%}", f"right; {found['most_frequent']:.1%} by always saying the most frequent"),
        (f"{found['macro_f1']:.3f}", "macro-F1"),
        (f"{found['ece']:.3f}", "calibration error (ECE)"),
        (f"{found['accepted']:.1%}", f"accepted without a person, at {judged.bar:.3f} and above"),
        (f"{found['right_of_accepted']:.1%}" if "right_of_accepted" in found else "–", "of these right"),
    ]
    return figures(shown)


def _curve(judged: Judged) -> str:
    curve = measures.risk_coverage(judged.probabilities, judged.truth)
    step = max(1, len(curve.accepted) // MOST_DOTS)
    points = list(zip(curve.accepted[::step].tolist(), curve.right[::step].tolist(), strict=True))
    low = np.floor(min(curve.right.min(), 0.9) * 10) / 10
    ticks = tuple(np.arange(low, 1.001, 0.1 if low < 0.8 else 0.05).tolist())
    found = judged.figures()
    notes = (
        [Note(found["accepted"], found["right_of_accepted"], f"bar {judged.bar:.3f}")]
        if "right_of_accepted" in found
        else []
    )
    across = Axis(0, 1, "share accepted without a person")
    return chart(
        "risk–coverage curve", across, Axis(float(low), 1, "share of these that is right", ticks), [Line(points)], notes
    )


def _reliability(judged: Judged) -> str:
    bins = measures.reliability(judged.probabilities, judged.truth)
    said = [(one.confidence, one.right) for one in bins]
    honest = Line([(0, 0), (1, 1)], FAINT, dashed=True)
    found = Line(said, ORANGE, dots=True, weights=[one.rows for one in bins])
    return chart(
        "reliability diagram",
        Axis(0, 1, "confidence that it states"),
        Axis(0, 1, "share that is right"),
        [honest, found],
    )


def _confusion(judged: Judged) -> str:
    table = measures.confusion(judged.told, judged.truth, len(judged.classes))
    sums = table.sum(axis=1)
    rows = []
    for at, name in enumerate(judged.classes):
        cells = "".join(
            f'<td style="background:{_shade(count / max(sums[at], 1), here == at)}">{count or ""}</td>'
            for here, count in enumerate(table[at].tolist())
        )
        rows.append([f"<th>{escape(name)}</th>{cells}<td class='quiet'>{sums[at]}</td>"])
    head = ["truth ↓ / told →", *judged.classes, "rows"]
    return _table(head, rows)


def _shade(share: float, right: bool) -> str:  # noqa: FBT001  # two colours
    return f"rgba({'31,111,235' if right else '209,105,14'},{round(0.85 * share**0.6, 2)})" if share else "transparent"


def _classes(judged: Judged) -> str:
    found = measures.by_class(measures.confusion(judged.told, judged.truth, len(judged.classes)))
    rows = [
        [f"<td>{escape(name)}</td>", *(f"<td>{_number(value)}</td>" for value in one[:3]), f"<td>{one.rows}</td>"]
        for name, one in zip(judged.classes, found, strict=True)
    ]
    return _table(["class", "right when told (precision)", "found (recall)", "F1", "rows"], rows)


def _drift(drift: Sequence[Drift]) -> str:
    rows = []
    for one in drift:
        mark = "alarm" if one.stability > ALARM else "warn" if one.stability > WARN else ""
        before, after = one.nulls
        rows.append(
            [
                f"<td>{escape(one.name)}</td><td class='{mark}'>{one.stability:.3f}</td>",
                f"<td>{before:.1%}</td><td>{after:.1%}</td><td>{one.unknown:.1%}</td>",
            ]
        )
    return _table(["input", "PSI", "missing when learnt", "missing when judged", "unknown values"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def _number(value: float) -> str:
    return "–" if isnan(value) else f"{value:.3f}"
