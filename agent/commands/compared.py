"""How `gatepost models compare` tells people what it found: agreement, figures, and the gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from typing import Final

from agent.commands import show
from agent.scoring import class_comparison, comparison
from agent.scoring.class_comparison import ClassComparison
from agent.scoring.comparison import Comparison
from agent.scoring.forecast_comparison import ForecastComparison
from agent.scoring.paired import Difference

SHOWN: Final = 10  # events that are named
HEAD: Final = "difference"


def told(
    name: str,
    champion: str,
    challenger: str,
    found: Comparison | ClassComparison | ForecastComparison,
    asked: dict[str, int | float],
    decides: str,
) -> None:
    """All of it; `asked` is how often the challenger was asked in shadow, `decides` the version that decides now."""
    roles = _roles(champion, challenger, decides)
    if isinstance(found, ForecastComparison):
        _forecasts(f"{name}: {roles}", champion, challenger, found)
    else:
        _reports(f"{name}: {roles}", champion, challenger, found, asked)
    if not found.against:
        do = "it decides already" if challenger == decides else f"gatepost models promote {name} {challenger}"
        show.say(f"{challenger} passes the gate: {do}")
        return
    show.say(f"{challenger} does not pass the gate:")
    for why in found.against:
        show.folded(f"  - {why}")


def _reports(
    begin: str,
    champion: str,
    challenger: str,
    found: Comparison | ClassComparison,
    asked: dict[str, int | float],
) -> None:
    """About what workflows asked."""
    share = found.agree / found.reports if found.reports else 0.0
    show.say(f"{begin}; the latest {found.reports} reports of this plant")
    show.say(f"  they agree about {found.agree} ({share:.1%})")
    show.folded(f"  only {challenger} would let pass: {_named(found.would_post)}")
    show.folded(f"  only {challenger} would hold: {_named(found.would_hold)}")
    if isinstance(found, ClassComparison):
        show.folded(f"  {challenger} takes them for another class: {_named(found.otherwise)}")
        if found.left_out:
            show.folded(f"  {found.left_out} left out: the version that scored them is not here, or was given less")
    show.say(
        f"  in shadow: asked {asked['asked']} times, {asked['no_answer']} without an answer, {asked['ms']:.2g} ms each"
    )
    if isinstance(found, ClassComparison):
        show.say(f"the class is known of {found.labels} reports")
    else:
        both = f"{found.normal} normal, {found.wrong} wrong"
        show.say(f"people decided about {found.normal + found.wrong} reports: {both}")
    if found.seen:
        show.say(f"  {found.seen} earlier ones do not count: one of the two has learnt from that time")
    if isinstance(found, ClassComparison):
        _classes(champion, challenger, found)
    elif found.judged is not None:
        _figures(champion, challenger, found.judged)


def _forecasts(begin: str, champion: str, challenger: str, found: ForecastComparison) -> None:
    """About what was used; losses are shares of the mean use."""
    days = f"{found.days} {'day' if found.days == 1 else 'days'}"
    places = f"{found.places} {'place' if found.places == 1 else 'places'}"
    show.folded(f"{begin}; {found.forecasts} forecasts of {places} on {days}, made again by both")
    if found.seen:
        show.say(f"  {found.seen} earlier days do not count: one of the two has learnt from that time")
    for version, share in ((champion, found.no_answer.champion), (challenger, found.no_answer.challenger)):
        if share:
            show.say(f"  {version} has no answer to {share:.1%}: there the profile forecasts")
    one = found.judged
    if one is None:
        return
    rows = [_row("pinball loss", one.pinball)]
    for of in one.held:
        words = f"held by the {of.quantile:.0%} quantile"
        rows.append([words, f"{of.share.champion:.1%}", f"{of.share.challenger:.1%}", "", ""])
    show.table(["figure", champion, challenger, HEAD, ""], rows)
    losses = [[of.name, str(of.forecasts), *(f"{loss:.4f}" for loss in astuple(of.pinball))] for of in one.by_place]
    show.table(["place", "forecasts", f"loss of {champion}", f"loss of {challenger}"], losses)


def _roles(one: str, other: str, decides: str) -> str:
    """What the two are today: whoever names versions may name them in any order, or two that do not decide."""
    shown = dict.fromkeys((one, other, decides) if decides else (one, other))
    return ", ".join(f"{version} {'decides' if version == decides else 'would'}" for version in shown)


def _named(events: Sequence[int]) -> str:
    """How many, and the latest of them."""
    more = " and more" if len(events) > SHOWN else ""
    return f"{len(events)}" + (f" (event {', '.join(map(str, events[:SHOWN]))}{more})" if events else "")


def _row(words: str, of: Difference, *, share: bool = False) -> list[str]:
    verdict = "better" if of.better else "worse" if of.worse else "may be chance"
    figures = [f"{value:.1%}" if share else f"{value:.4f}" for value in (of.champion, of.challenger)]
    return [words, *figures, f"{of.low:+.2g} to {of.high:+.2g}", verdict]


def _bias(unbiased: int) -> None:
    show.folded(
        f"{unbiased} of these reports came to a person whatever their score was. The others came because of a "
        "doubt or were taken back: the figures are about such reports, not about all."
    )


def _figures(champion: str, challenger: str, one: comparison.Judged) -> None:
    told = (("Brier score", one.brier), ("log loss", one.log_loss), ("cost of a report", one.cost))
    rows = [_row(words, of) for words, of in told]
    for words, share in (("found of what is wrong", one.caught), ("let pass of what is normal", one.passed)):
        rows.append([words, f"{share.champion:.1%}", f"{share.challenger:.1%}", "", ""])
    error = one.calibration
    rows.append(["calibration error", f"{error.champion:.4f}", f"{error.challenger:.4f}", "", ""])
    show.table(["figure", champion, challenger, HEAD, ""], rows)
    _bias(one.unbiased)


def _classes(champion: str, challenger: str, found: ClassComparison) -> None:
    """Figures over all, then class by class."""
    one = found.judged
    if one is not None:
        show.table(["figure", champion, challenger, HEAD, ""], list(_of_all(one)))
    rows = [
        [of.name, str(of.labels), *_recall(of), *("–" if value is None else f"{value:.1%}" for value in of.precision)]
        for of in found.classes
    ]
    heads = [f"{what} {version}" for what in ("found by", "right by") for version in (champion, challenger)]
    show.table(["class", "labels", *heads], rows)
    if one is not None:
        _bias(one.unbiased)


def _of_all(one: class_comparison.Judged) -> Iterator[list[str]]:
    yield _row("accuracy", one.accuracy, share=True)
    yield _row("macro-F1", one.macro_f1)
    yield _row("Brier score", one.brier)
    yield _row("log loss", one.log_loss)
    yield _row("cost of a report", one.cost)
    yield _row("let pass", one.accepted, share=True)
    if one.right is not None:
        yield _row("right of these", one.right, share=True)
    error = one.calibration
    yield ["calibration error", f"{error.champion:.4f}", f"{error.challenger:.4f}", "", ""]


def _recall(of: class_comparison.OfClass) -> list[str]:
    if of.recall is None:
        return ["–", "–"]
    return [f"{value:.1%}" for value in (of.recall.champion, of.recall.challenger)]
