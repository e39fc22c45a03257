"""Which version of a model decides, and which is asked in shadow: changed by a person, verified first, then on record,
then named on disk.

Whoever reads the aliases next (a reload, the next start) takes the new champion. The version before stays for the way
back, which is one step: after it there is no further one, so that going back twice does not bring the bad one again.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import apsw

from agent.configuration.settings import Promotion
from agent.errors import Conflict, GatepostError, ModelUnfit, NotFound, Unproven
from agent.features import posting_classification, shortage_forecast
from agent.oversight import contest, past_use
from agent.oversight.past_use import Past
from agent.oversight.rows import Rows
from agent.people.desk import Act, Desk
from agent.scoring import registry
from agent.scoring.class_comparison import ClassComparison
from agent.scoring.comparison import Comparison
from agent.scoring.forecast_comparison import ForecastComparison
from agent.scoring.inference import DEADLINE_S, Model
from agent.scoring.modelfiles import Approval
from agent.store import shadow
from agent.store.transaction import Transaction
from agent.workflows import WORKFLOWS

COMPARING_S: Final = 2.0  # for a run that nobody waits for: cut off on a busy machine, a version would look worse
LETS: Final = "lets this version decide"
LETS_AGAIN: Final = "lets the version before decide again"
ASKS_IN_SHADOW: Final = "asks this version in shadow"
NAMES_ONLY: Final = "names this version as the challenger; forecasts are made again to compare, none is asked in shadow"


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where the models of a plant are, whose are believed, and what workflows feed them with."""

    models: Path
    keys: Path
    features: Mapping[str, Sequence[str]]  # model → names of the features that it is asked with
    kinds: Mapping[str, str] = field(default_factory=dict)  # model → what it is asked for
    past: Callable[[], Past] | None = None  # for whoever compares forecasts

    @classmethod
    def of(
        cls,
        models: Path,
        keys: Path,
        flows: Iterable[tuple[str, str | None]],
        *,
        accounts: str | None = None,
        shortages: str | None = None,
    ) -> Shelf:
        """From kind and model of every workflow, the model that looks over accounts, and the one of shortages."""
        asked = {model: _workflow(kind) for kind, model in flows if model and kind in WORKFLOWS}
        features = {model: tuple(workflow.feature_names) for model, workflow in asked.items()}
        kinds = {model: kind_for(workflow) for model, workflow in asked.items()}
        if accounts:
            features[accounts], kinds[accounts] = posting_classification.NAMES, "classes"
        if shortages:
            features[shortages], kinds[shortages] = shortage_forecast.FEATURES, past_use.KIND
        return cls(models, keys, features, kinds)

    def load(
        self,
        name: str,
        version: str,
        *,
        explain_below: float = 1.0,
        apart: bool = False,
        deadline_s: float = DEADLINE_S,
    ) -> Model:
        """The version as the agent would load it, after every check. Raises ModelUnfit, NotFound."""
        folder = registry.located(self.models, name, version)
        keys = registry.trusted(self.keys)
        features, kind = self.features.get(name), self.kinds.get(name)
        return Model.load(
            folder, keys, features, kind=kind, explain_below=explain_below, apart=apart, deadline_s=deadline_s
        )

    def compare(
        self, connection: apsw.Connection, name: str, champion: str, challenger: str, gate: Promotion
    ) -> Comparison | ClassComparison | ForecastComparison:
        """Two versions on what the store has on record. Raises ModelUnfit, NotFound."""
        with (
            closing(self.load(name, champion, explain_below=0.0, apart=True, deadline_s=COMPARING_S)) as one,
            closing(self.load(name, challenger, explain_below=0.0, apart=True, deadline_s=COMPARING_S)) as other,
        ):
            if one.manifest.kind == other.manifest.kind == past_use.KIND:
                assert self.past is not None  # noqa: S101  # whoever compares gives it
                return past_use.held(connection, one, other, gate, self.past())
            return contest.held(connection, one, other, gate, self.rows())

    def rows(self) -> Rows:
        """Rows on record as any version takes them."""
        return Rows(self.models, registry.trusted(self.keys))


def _workflow(kind: str) -> Any:
    module, _, name = WORKFLOWS[kind].partition(":")
    return getattr(importlib.import_module(module), name)


def kind_for(workflow: Any) -> str:
    """Which kind of model this workflow, or its class, asks."""
    return "classes" if hasattr(workflow, "values") else "probability"


async def promote(
    desk: Desk, shelf: Shelf, name: str, version: str, act: Act, gate: Promotion, *, anyway: bool = False
) -> Mapping[str, Any]:
    """Let this version decide. Raises NotFound, ModelUnfit (nothing is changed), Conflict where it does already.

    Unproven where it has not shown that it is better, unless `anyway`: then the trail says so.
    """
    model = await _verified(desk, shelf, name, version, act)
    against = await asyncio.to_thread(_against, desk, shelf, name, version, gate)
    if against and not anyway:
        champion = registry.champion(shelf.models / name).name
        raise Unproven(
            f"{name}/{version} has not shown here that it is better: {'; '.join(against)}. Look: `gatepost models "
            f"compare {name} {champion} {version}`; whoever insists (--anyway, at the console a box to tick) promotes "
            "it all the same, with their reason and all of this on record"
        )
    more = {"against": against, "anyway": anyway} if against else {}
    write = partial(registry.name_champion, version=version, approved=_approval(desk, act, LETS))
    return await _named(desk, shelf.models / name, model, act, _Change("model_promoted", write, LETS, more))


async def roll_back(desk: Desk, shelf: Shelf, name: str, act: Act) -> Mapping[str, Any]:
    """Let the version before the champion decide again. Raises NotFound, ModelUnfit (nothing is changed)."""
    folder = shelf.models / name
    model = await _verified(desk, shelf, name, registry.previous(folder), act)
    write = partial(registry.roll_back, approved=_approval(desk, act, LETS_AGAIN))
    return await _named(desk, folder, model, act, _Change("model_rolled_back", write, LETS_AGAIN))


async def challenge(desk: Desk, shelf: Shelf, name: str, version: str | None, act: Act) -> Mapping[str, Any]:
    """Let this version be asked in shadow, or none any more.

    Raises NotFound, ModelUnfit (nothing is changed), Conflict where it decides, is asked already, or none is.
    """
    model = await _verified(desk, shelf, name, version, act) if version is not None else None
    write = partial(registry.name_challenger, version=version)
    if version is None:
        change = _Change("challenger_removed", write, "ends the shadow", part="challenger")
    else:
        begun = partial(shadow.begin, model=name, version=version)
        meaning = NAMES_ONLY if shelf.kinds.get(name) == past_use.KIND else ASKS_IN_SHADOW
        change = _Change("challenger_named", write, meaning, part="challenger", also=begun)
    return await _named(desk, shelf.models / name, model, act, change)


def _approval(desk: Desk, act: Act, meaning: str) -> Approval:
    """What stands beside the champion in the aliases: who, why, when, and what their signature means."""
    return Approval(by=act.by, reason=act.reason, at=desk.now().isoformat(), meaning=meaning)


def _against(desk: Desk, shelf: Shelf, name: str, version: str, gate: Promotion) -> tuple[str, ...]:
    """Why the gate does not let this version pass; nothing is asked of the first one, nor where no workflow asks it."""
    folder = shelf.models / name
    if name not in shelf.features or not (folder / registry.ALIASES).exists():
        return ()
    champion = registry.aliases(folder).champion
    if champion == version:
        return ()
    try:
        return desk.look(lambda connection: shelf.compare(connection, name, champion, version, gate)).against
    except (ModelUnfit, NotFound) as error:
        return (f"it cannot be compared: {error}",)


@dataclass(frozen=True, slots=True)
class _Change:
    """What an act does to the aliases: its name in the trail, how it is written, and which part it is about."""

    action: str
    write: Callable[[Path], object]
    meaning: str  # of the signature
    more: Mapping[str, Any] = field(default_factory=dict)
    part: str = "champion"
    also: Callable[[Transaction], object] = lambda _: None  # done in the same commit


async def _verified(desk: Desk, shelf: Shelf, name: str, version: str, act: Act) -> Model:
    """Loaded as the agent would; only its names are needed any more. Raises NotFound, and ModelUnfit: on record."""
    try:
        model = await asyncio.to_thread(shelf.load, name, version)
    except ModelUnfit as error:
        detail = {"model": name, "version": version, "why": str(error), "reason": act.reason}
        await desk.writer.run(lambda tx: tx.audit("model_refused", detail, actor=act.by, alarm=True))
        raise
    model.close()
    return model


async def _named(desk: Desk, folder: Path, model: Model | None, act: Act, change: _Change) -> Mapping[str, Any]:
    """On record, then on disk: this version (None: no version) has this part. Raises Conflict where it is so already.

    Where the aliases cannot be written the trail says that, too.
    """
    name, version = folder.name, model.manifest.version if model is not None else None
    answer = {"model": name, "version": version, "by": act.by}
    if model is not None:
        answer["signed_by"] = model.signer

    def record(tx: Transaction) -> Mapping[str, Any]:
        told = registry.aliases(folder) if (folder / registry.ALIASES).exists() else None
        before: str | None = getattr(told, change.part, None)
        if told is not None and told.champion == version:
            raise Conflict(
                f"{name}/{version} is the champion already; files of it that were restored are taken by a reload "
                "(SIGHUP); `gatepost models list` shows the versions"
            )
        if before == version:
            what = f"{name}/{version} is the {change.part} already" if version else f"{name} has no {change.part}"
            raise Conflict(f"{what}; `gatepost models list` shows the versions")
        sha256 = model.digest if model is not None else None
        signed = {"sha256": sha256, "meaning": change.meaning, "reason": act.reason}
        tx.audit(change.action, {**answer, "before": before, **signed, **change.more}, actor=act.by)
        change.also(tx)
        return {**answer, "before": before}

    request = {"act": change.action, "model": name, "version": version, "by": act.by, "reason": act.reason}
    done: Mapping[str, Any] = await desk.writer.run(lambda tx: act.done(tx, request, record))
    try:
        await asyncio.to_thread(change.write, folder)
    except OSError as error:
        detail = {"model": name, "version": version, "why": str(error.strerror)}
        await desk.writer.run(lambda tx: tx.audit("model_not_named", detail, actor=act.by, alarm=True))
        raise GatepostError(
            f"{folder / registry.ALIASES} cannot be written: {error.strerror}; nothing was changed, make it writable "
            "for the agent's user and try again"
        ) from None
    return done
