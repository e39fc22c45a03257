"""The card of a trained version: one page for whoever has to answer for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from agent.scoring.modelfiles import Input
from models.training.judged import Judged
from models.training.measures import by_class, confusion

CARD: Final = """# {name}, version {version}

**What it answers.** {answers}
**What it looks at.** {inputs}
**What it is.** {what}, {size} bytes of ONNX, the same answer on every run.
**Trained on.** {data}
**Judged by.** {protocol}. {judged} rows it had not seen.
{about}
| figure | value |
|---|---|
{figures}

{says}

| class | precision | recall | F1 | rows |
|---|---|---|---|---|
{classes}

## Limits
- Outside of the ranges in manifest.json it is not asked: a person decides. A value of a category that training did not
  know counts as none of the known ones.
- Its probabilities are those of the mix it was trained on. Where the mix changes (a new product, a new machine) they
  are wrong before anything else is: watch drift, and train again.
- {limits}
"""

DECIDES: Final = """\
It may decide alone from a probability of **{bar:.3f}** on; the bar was chosen so that {right:.0%} of such cases were
right among rows that the fitted models had not seen. {accepted:.0%} of the judged cases were above it.
Before `auto`, run it beside your own decisions for some weeks and compare."""
WARNS: Final = "It decides nothing: it says where it sees otherwise what something else decided."

WORDS: Final = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "log_loss": "log-loss",
    "brier": "Brier score (all classes)",
    "ece": "calibration error (ECE, ten bins)",
    "most_frequent": "accuracy of always saying the most frequent class",
    "accepted": "accepted without a person",
    "right_of_accepted": "right among the accepted",
    "covered_0.05": "truth in the set that should hold 95 %",
    "set_size_0.05": "classes in that set",
    "covered_0.1": "truth in the set that should hold 90 %",
    "set_size_0.1": "classes in this set",
}
OF_A_BAR: Final = ("accepted", "right_of_accepted")


def card(told: Mapping[str, str], inputs: Sequence[Input], judged: Judged, right: float, *, decides: bool) -> str:
    """The page. `told` has name, version, what, size, data, protocol, about and limits."""
    found = by_class(confusion(judged.told, judged.truth, len(judged.classes)))
    figures = judged.figures()
    told_figures = [name for name in figures if decides or name not in OF_A_BAR]
    return CARD.format(
        **told,
        answers=f"Which of these is it: {', '.join(judged.classes)}? A probability for each.",
        inputs="; ".join(dict.fromkeys(_input(one) for one in inputs)) + ".",
        judged=len(judged.truth),
        figures="\n".join(f"| {WORDS[name]} | {figures[name]:.4f} |" for name in told_figures),
        says=(DECIDES if decides else WARNS).format(bar=judged.bar, right=right, accepted=figures["accepted"]),
        classes="\n".join(
            f"| {name} | {one.precision:.3f} | {one.recall:.3f} | {one.f1:.3f} | {one.rows} |"
            for name, one in zip(judged.classes, found, strict=True)
        ),
    )


def _input(one: Input) -> str:
    """A number with its unit and range; of a category only its name."""
    name, category, _ = one.name.partition("=")
    if category:
        return name
    return f"{one.text} ({one.least:g} to {one.most:g}{f' {one.unit}' if one.unit else ''})"
