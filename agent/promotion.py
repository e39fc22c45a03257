"""Which version of a model decides, changed by a person: verified first, then on record, then named on disk.

Whoever reads the aliases next (a reload, the next start) takes the new champion. The version before stays for the way
back, which is one step: after it there is no further one, so that going back twice does not bring the bad one again.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agent import registry
from agent.desk import Act, Desk
from agent.errors import Conflict, GatepostError, ModelUnfit
from agent.inference import Model
from agent.store.approvals import once
from agent.store.transaction import Transaction
from agent.workflows import WORKFLOWS


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where the models of a plant are, whose are believed, and what workflows feed them with."""

    models: Path
    keys: Path
    features: Mapping[str, Sequence[str]]  # model → names of the features that its workflow computes

    @classmethod
    def of(cls, models: Path, keys: Path, flows: Iterable[tuple[str, str | None]]) -> Shelf:
        """From kind and model of every workflow."""
        return cls(models, keys, {model: _features(kind) for kind, model in flows if model and kind in WORKFLOWS})

    def load(self, name: str, version: str) -> Model:
        """The version as the agent would load it, after every check. Raises ModelUnfit, NotFound."""
        folder = registry.located(self.models, name, version)
        features = self.features.get(name)
        kind = "probability" if features is not None else None  # what workflows ask for
        return Model.load(folder, registry.trusted(self.keys), features, kind=kind)


def _features(kind: str) -> Sequence[str]:
    module, _, name = WORKFLOWS[kind].partition(":")
    names: Sequence[str] = getattr(importlib.import_module(module), name).feature_names
    return names


async def promote(desk: Desk, shelf: Shelf, name: str, version: str, act: Act) -> Mapping[str, Any]:
    """Let this version decide. Raises NotFound, ModelUnfit (nothing is changed), Conflict where it does already."""
    return await _let_decide(desk, shelf, name, version, act, "model_promoted")


async def roll_back(desk: Desk, shelf: Shelf, name: str, act: Act) -> Mapping[str, Any]:
    """Let the version before the champion decide again. Raises NotFound, ModelUnfit (nothing is changed)."""
    return await _let_decide(desk, shelf, name, registry.previous(shelf.models / name), act, "model_rolled_back")


async def _let_decide(desk: Desk, shelf: Shelf, name: str, version: str, act: Act, action: str) -> Mapping[str, Any]:
    folder = shelf.models / name
    try:
        model = await asyncio.to_thread(shelf.load, name, version)
    except ModelUnfit as error:
        detail = {"model": name, "version": version, "why": str(error), "reason": act.reason}
        await desk.writer.run(lambda tx: tx.audit("model_refused", detail, actor=act.by, alarm=True))
        raise
    model.close()
    answer = {"model": name, "version": version, "signed_by": model.signer, "by": act.by}

    def record(tx: Transaction) -> Mapping[str, Any]:
        before = registry.aliases(folder) if (folder / registry.ALIASES).exists() else None
        if before is not None and before.champion == version:
            raise Conflict(
                f"{name}/{version} is the champion already; files of it that were restored are taken by a reload "
                "(SIGHUP); `gatepost models list` shows the versions"
            )
        said = {**answer, "before": before and before.champion, "sha256": model.digest, "reason": act.reason}
        tx.audit(action, said, actor=act.by)
        return {**answer, "before": before and before.champion}

    request = {"act": action, "model": name, "version": version, **asdict(act)}
    done: Mapping[str, Any] = await desk.writer.run(
        lambda tx: once(tx, act.key, request, partial(record, tx)) if act.key else record(tx)
    )
    write = registry.roll_back if action == "model_rolled_back" else partial(registry.name_champion, version=version)
    try:
        await asyncio.to_thread(write, folder)
    except OSError as error:
        detail = {"model": name, "version": version, "why": str(error.strerror)}
        await desk.writer.run(lambda tx: tx.audit("model_not_named", detail, actor=act.by, alarm=True))
        raise GatepostError(
            f"{folder / registry.ALIASES} cannot be written: {error.strerror}; nothing was changed, make it writable "
            "for the agent's user and try again"
        ) from None
    return done
