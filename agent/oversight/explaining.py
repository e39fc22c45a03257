"""Why a decision was scored as it was, looked at closely: computed when a person opens it, and kept for the next one.

The version that decided is asked again from the record, with sixteen usual values in the place of each input. That
takes some milliseconds and a thread of its own: nothing that decides waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from agent.errors import ModelUnfit
from agent.judging import record
from agent.oversight.replay import Versions
from agent.scores import Features
from agent.scoring import registry
from agent.scoring.reasons import Effect

NOTHING: Final = "nothing in it makes a difference: it is like what training saw"
MATTERS: Final = 1.0  # points of 100
MOST: Final = 5  # sentences
KEPT: Final = 256  # answers

_one_at_a_time = threading.Lock()  # whoever opens many at once: the other cores belong to the line


def explained(detail: Mapping[str, Any], models: Path, keys: Path) -> dict[str, Any]:
    """What people read of the scores in this record: `reasons` as sentences, `inputs` one by one; else a `problem`.

    `account` is the same of the model that looked over the account, None where none did. `keys` is the folder of those
    whose models are believed.
    """
    account = detail.get("account", {})
    looked = bool(account.keys() & {"score", "unfit"})
    return {**_explained(detail, models, keys), "account": _explained(account, models, keys) if looked else None}


def _explained(detail: Mapping[str, Any], models: Path, keys: Path) -> dict[str, Any]:
    score = detail.get("score")
    if score is None:
        return silent(detail, "the model had no answer to it" if "unfit" in detail else "no model has scored it")
    try:
        with _one_at_a_time:
            effects = _effects(models, keys, score["model"], score["sha256"], record.values(score["features"]))
    except ModelUnfit as error:
        return silent(detail, str(error))
    if "said" in score:  # of classes: what speaks for the likeliest comes first
        effects = tuple(sorted(effects, key=lambda one: (not one.beyond, one.points)))
    worst = [one.sentence() for one in effects if one.beyond or abs(one.points) >= MATTERS][:MOST]
    return silent(detail, None) | {"reasons": worst or [NOTHING], "inputs": [one._asdict() for one in effects]}


def silent(detail: Mapping[str, Any], problem: str | None) -> dict[str, Any]:
    """The answer where nothing can be told, and why."""
    score = detail.get("score", {})
    told = {"model": score.get("model"), "confidence": score.get("confidence"), "said": score.get("said")}
    return {**told, "reasons": [], "inputs": [], "problem": problem}


@lru_cache(KEPT)
def _effects(models: Path, keys: Path, name: str, sha256: str, row: Features) -> tuple[Effect, ...]:
    """Of this very file. Raises ModelUnfit, which is not kept: the version may be put back."""
    versions = Versions(models, registry.trusted(keys))
    try:
        return tuple(versions.find(name, sha256).effects(np.array([row], np.float32)))
    finally:
        versions.close()
