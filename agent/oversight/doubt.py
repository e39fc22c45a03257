"""Drift, followed beside the loops: the newest decisions of each model are looked at, and an alarm raises the bar.

It reads what is on record with a connection of its own, never more than so many rows at a time, and hands on other
rules between two batches: nothing is done for it where events are decided.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import apsw

from agent import authority
from agent.configuration.settings import Drift
from agent.errors import Conflict
from agent.judging.rules import Rules
from agent.masterdata.accounts import LEAST
from agent.people.desk import Act, Desk
from agent.ports import Clock
from agent.scoring import drift
from agent.scoring.drift import Level, Row, State, Watched
from agent.scoring.inference import Model
from agent.scoring.modelfiles import Manifest
from agent.scoring.outcomes import Outcome
from agent.store import audit, drifts
from agent.store.labels import Label
from agent.store.transaction import Transaction

log = logging.getLogger("gatepost")

EVERY_S: Final = 30.0
KEPT: Final = 5_000  # rows of one version


class Doubt:
    """Follows the models of the rules that decide now. `swap` takes other rules between two batches."""

    def __init__(
        self,
        desk: Desk,
        clock: Clock,
        settings: Callable[[], Drift],
        rules: Callable[[], Rules],
        swap: Callable[[Rules], None],
    ) -> None:
        self._desk = desk
        self._clock = clock
        self._settings = settings
        self._rules = rules
        self._swap = swap
        self._rows: dict[str, deque[Row]] = defaultdict(partial(deque, maxlen=KEPT))
        self._read_to = 0  # row of the trail
        self.states: dict[str, State] = {}

    def load(self, connection: apsw.Connection) -> None:
        """What was found before a restart counts from the first decision on."""
        self.states = drifts.kept(connection)

    def applied(self, rules: Rules) -> Rules:
        """These rules with the bars that are in force. Tells each model below which score a person wants reasons."""
        assignments = {}
        for kind, one in rules.assignments.items():
            rule = authority.lowered(one.rule)
            if isinstance(one.model, Model):
                state = self._state(one.model)
                if state.raised:
                    why = f"of what {one.model.name} is asked, {drift.worst_words(state)}"
                    rule = authority.raised(rule, self._settings().min_confidence, why)
                one.model.explain_below(rule.min_confidence)
                one.model.recalibrate(state.shift if self._settings().recalibrate else 0.0)
            assignments[kind] = replace(one, rule=rule)
        look = rules.second_look
        if look is not None and isinstance(look.model, Model):
            look = look.asking(drifted=self._state(look.model).raised)
        return replace(rules, assignments=MappingProxyType(assignments), second_look=look)

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────

    async def look(self) -> None:
        """One look at the newest decisions. What it finds out is on record before it counts."""
        rules, settings = self._rules(), self._settings()
        found, self._read_to = await asyncio.to_thread(self._desk.look, partial(drifts.newest, read_to=self._read_to))
        for digest, row in found:
            self._rows[digest].append(row)
        in_force = self._in_force()
        for one in rules.assignments.values():
            if isinstance(one.model, Model):
                await self._follow(one.model, authority.lowered(one.rule).min_confidence, settings)
        if rules.second_look is not None and isinstance(rules.second_look.model, Model):
            await self._follow(rules.second_look.model, LEAST, settings)
        if self._in_force() != in_force:
            self._swap(self._rules())

    async def _follow(self, model: Model, bar: float, settings: Drift) -> None:
        rows = [row for row in self._rows[model.digest] if len(row.features) == len(model.manifest.features)]
        at, watched = self._clock().isoformat(), Watched(model.manifest, model.reference)

        def step(connection: apsw.Connection, state: State) -> State:
            labels = drifts.outcomes(connection, model.name, model.digest, state.judged_after)
            cases = [_outcome(one, model.manifest) for one in labels]
            after = drift.heard(drift.step(state, rows, watched, settings, bar, at), cases, settings, at)
            off = drift.to_recalibrate(state, settings) and drift.to_recalibrate(after, settings)  # not at first sight
            if off and model.manifest.kind == "probability":
                return drift.recalibrated(after, cases, audit.read_head(connection).seq)
            return after

        await self.follow(model, step)

    async def follow(self, model: Model, step: Callable[[apsw.Connection, State], State]) -> None:
        """Take the next step of this model. It is on record before it counts; a mistake of it ends nothing."""
        state = self._state(model)
        try:
            after = await asyncio.to_thread(self._desk.look, lambda at: step(at, state))
        except Exception:  # whatever it is, it may not end what decides
            log.exception("drift of %s cannot be followed", model.name)
            return
        if self._state(model) != state:
            return  # a person acted meanwhile: the next look begins from there
        if _settled(after) == _settled(state) or await self._keep(model.name, state, after):
            self.states[model.name] = after

    def _state(self, model: Model) -> State:
        """Of this very file; another one under its name begins anew."""
        state = self.states.get(model.name)
        return state if state is not None and state.sha256 == model.digest else State(sha256=model.digest)

    def _in_force(self) -> set[tuple[str, bool, float]]:
        """What of the states changes decisions."""
        return {(version, state.raised, state.shift) for version, state in self.states.items()}

    async def _keep(self, version: str, state: State, after: State) -> bool:
        told = drift.advice(version, after, self._clock())
        if told:
            log.warning("drift: %s", told)

        def write(tx: Transaction) -> bool:
            states = drifts.kept(tx.connection)
            if state.accepted != states.get(version, state).accepted or state.after < states.get(version, state).after:
                return False
            drifts.put(tx, {**states, version: after})
            _tell(tx, version, state, after, told)
            return True

        done: bool = await self._desk.writer.run(write)
        return done

    def severity(self, version: str) -> float:
        """For metrics: 0, 1 a warning, 2 an alarm."""
        state = self.states.get(version, State())
        return {Level.WARN: 1.0, Level.ALARM: 2.0}.get(state.level, 0.0)

    # ── people ──────────────────────────────────────────────────────────────────────────────────────────

    async def accept(self, name: str, act: Act) -> Mapping[str, Any]:
        """What comes now is right. Raises Conflict where nothing has drifted."""
        answer = await accept(self._desk, name, act)
        self.states = dict(await asyncio.to_thread(self._desk.look, drifts.kept))
        self._swap(self._rules())
        return answer


async def accept(desk: Desk, name: str, act: Act) -> Mapping[str, Any]:
    """What the model `name` is asked from now on is right: later reports are held against it, the bar is as configured.

    Raises Conflict where nothing has drifted.
    """

    def record_(tx: Transaction) -> Mapping[str, Any]:
        states = drifts.kept(tx.connection)
        far = {one: state for one, state in states.items() if one.startswith(f"{name}/") and state.drifted}
        if not far:
            raise Conflict(f"what {name} is asked has not drifted: there is nothing to accept")
        head = audit.read_head(tx.connection).seq
        drifts.put(tx, {**states, **{one: drift.accepted(state, head) for one, state in far.items()}})
        for version, state in far.items():
            told = state.figures and state.figures.model_dump(mode="json")
            tx.audit("drift_accepted", {"model": version, "reason": act.reason, "figures": told}, actor=act.by)
        return {"model": name, "versions": sorted(far), "by": act.by}

    request = {"act": "accept_drift", "model": name, "by": act.by, "reason": act.reason}
    done: Mapping[str, Any] = await desk.writer.run(lambda tx: act.done(tx, request, record_))
    return done


def _outcome(label: Label, manifest: Manifest) -> Outcome:
    """What the model said about one case, and whether that was so.

    Of two answers the set holds what it was by its probability. Of many it is known only where the likeliest was right,
    or nothing else was possible; where it was wrong beside others, these get the benefit of the doubt.
    """
    scored, right = label.scored, label.normal
    if manifest.kind == "classes":
        held = ((alpha, right or len(classes) > 1) for alpha, classes in scored.possible.items())
    else:
        so = scored.said if right else 1 - scored.said
        held = ((alpha, 1 - so <= most) for alpha, most in manifest.conformal.items())
    return Outcome(scored.said, right, tuple(held))


# ── on record ───────────────────────────────────────────────────────────────────────────────────────────────


def _tell(tx: Transaction, version: str, state: State, after: State, advice: str) -> None:
    """A row of the trail for each thing that has changed, with the figures."""
    figures = after.figures and after.figures.model_dump(mode="json")
    detail = {"model": version, "level": after.level, "bar_raised": after.raised, "figures": figures, "why": advice}
    if after.outcomes is not None:
        detail["outcomes"] = after.outcomes.model_dump(mode="json")
    if after.held is not None:
        detail["held"] = after.held.model_dump(mode="json")
    if after.shift != state.shift:
        moved = {"shift": after.shift, "before": state.shift, "why": "its odds are moved to what people found"}
        tx.audit("recalibrated", {**detail, **moved})
    if state.learning and after.before is not None:
        tx.audit("drift_measure", {**detail, "why": "later reports are held against the first ones here"})
    if (after.level, after.raised) == (state.level, state.raised):
        return
    if after.level is Level.ALARM:
        tx.audit("drift_alarm", detail, alarm=True)
    elif after.level is Level.WARN:
        tx.audit("drift_warning", detail)
    elif state.drifted:
        tx.audit("drift_over", detail)


def _settled(state: State) -> State:
    """What of a state is worth a commit."""
    return state.model_copy(update={"figures": None, "outcomes": None, "held": None})
