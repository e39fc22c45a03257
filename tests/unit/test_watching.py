"""When an order that was decided is put before its workflow again, and what is told then of its earlier proposals."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import watching
from agent.authority import Mode, Rule
from agent.configuration.settings import LiveKind
from agent.facts import Facts
from agent.judging import verdicts
from agent.judging.judge import judge
from agent.judging.rules import OWN, Assignment, Door
from agent.pipeline import Intake
from agent.ports import Acknowledgement
from agent.store import file, inbox, outbox
from agent.store.writer import Writer
from agent.watching import Watching
from tests.stores import Clock, claim, opened
from tests.unit.test_judge import TODAY, Narrow, rules_of
from tests.unit.test_workflow_order_release import AT, FLOW, RUNS, facts_of

DOWN = RUNS | {(LiveKind.EQUIPMENT_STATE, "ASSY-05"): "down"}
LIVE = dict.fromkeys(("order_release", "order_note"), "live")


class Plant:
    """The agent around one order, with its real store: what it notices is decided and written at once."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.clock = Clock(AT)
        self.tells = True
        self.facts: Facts = facts_of()
        self.rule(Mode.AUTO)
        self.start()

    def rule(self, mode: Mode, modes: dict[str, str] = LIVE) -> None:
        """Another configuration."""
        doors = {OWN: Door(Narrow(), modes), "line": Door(Narrow(), {"dispatch": "live"})}
        if self.tells:
            doors["notify"] = Door(Narrow(), {"notification": "live"})
        version = f"{mode} {modes['order_release']}"
        self.assignment = Assignment(FLOW, doors, Rule(mode=mode, min_confidence=0, version=version))

    def start(self) -> None:
        """The agent as it is after it was killed."""
        self.watching = Watching(lambda: self.rules, lambda: self.facts.live, self.look, self.clock)

    @property
    def rules(self) -> Any:
        version = self.assignment.rule.version
        return replace(rules_of(), version=version, facts=self.facts, assignments={FLOW.name: self.assignment})

    def look(self, what: Any) -> Any:
        with closing(file.reader(self.writer.path)) as connection:
            return what(connection)

    def notices(self, **facts: Any) -> list[str]:
        """It looks once, at these facts; returns where each event went that came of it."""
        self.facts = facts_of(**facts)
        self.see()

        def decide(tx: Any) -> list[str]:
            events = inbox.undecided(tx.connection, 10)
            memory = verdicts.Inside(tx.connection)
            judgement = judge(events, self.rules, memory, TODAY, live=self.facts.live)
            verdicts.write(tx, judgement, 0)
            return [one.state for one in judgement.verdicts]

        return self.writer.call(decide)

    def see(self) -> None:
        """It looks, and nothing is decided yet."""
        self.clock.forward(seconds=1)
        asyncio.run(self.watching.once(Intake(self.writer)))

    def releases(self) -> list[tuple[str, str]]:
        """State and reasons of each release that was ever proposed to the ERP."""
        sql = "SELECT state, reasons FROM posting WHERE kind = 'order_release' ORDER BY id"
        found: list[tuple[str, str]] = self.look(lambda connection: connection.execute(sql).fetchall())
        return found

    def last(self) -> int:
        sql = "SELECT max(id) FROM posting WHERE kind = 'order_release'"
        return int(self.look(lambda connection: connection.execute(sql).get))


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with opened(tmp_path / "gatepost.db", Clock(AT)) as writer:
        yield Plant(writer)


@pytest.mark.parametrize(("live", "looks"), [(RUNS, 0), (RUNS | {(LiveKind.OEE, "ASSY-05"): 1}, 1)])
def test_what_depends_on_an_oee_is_looked_at_again_from_time_to_time(monkeypatch, plant: Plant, live: Any, looks: int):
    """An order at nothing's risk is decided once; where a tag tells an OEE, every quarter of an hour, for the trend."""
    assert plant.notices(live=live) == ["posted"]
    assert plant.notices(live=live) == []
    monkeypatch.setattr(watching, "ANYWAY_S", -1.0)
    monkeypatch.setattr(watching, "AGAIN_S", -1.0)
    assert plant.notices(live=live) == ["ignored"] * looks


# ── authority goes up ───────────────────────────────────────────────────────────────────────────────────────


def test_what_was_only_advised_is_released_once_when_authority_goes_up(plant: Plant):
    """Also where the agent is killed before the decision, and looks again: one release."""
    plant.rule(Mode.ADVISE)
    assert plant.notices() == ["advised"]
    plant.start()
    assert plant.notices() == []
    plant.rule(Mode.AUTO)
    for _ in range(2):  # the first was killed after it had noticed, and nothing of it was decided yet
        plant.start()
        plant.see()
    assert plant.notices() == ["posted", "ignored"]
    plant.start()
    assert plant.notices() == []
    assert plant.releases() == [("ready", "[]")]


def test_a_planner_is_told_of_what_was_only_advised(plant: Plant):
    """An order that is blocked since it was advice is told when authority goes up, and released when it is free."""
    plant.rule(Mode.ADVISE)
    assert plant.notices() == ["advised"]
    assert plant.notices(live=DOWN) == ["advised"]
    plant.rule(Mode.AUTO)
    assert plant.notices(live=DOWN) == ["posted"]
    assert plant.notices(live=DOWN) == []
    assert plant.notices() == ["posted"]
    assert plant.releases() == [("ready", "[]")]


@pytest.mark.parametrize(("expired", "route"), [(True, "posted"), (False, "held")])
def test_what_nobody_signed_in_time_is_released_and_what_a_person_refused_is_shown_once_more(plant, expired, route):
    """Held in assist, then ended; authority goes up to auto: a person's no is not overruled."""
    plant.rule(Mode.ASSIST)
    assert plant.notices() == ["held"]
    release = plant.last()
    if expired:
        plant.writer.call(lambda tx: outbox.expire(tx, release, "nobody has decided about it for 8 hours"))
    else:
        plant.writer.call(lambda tx: outbox.refuse(tx, release, by="ben", reason="wrong springs"))
    plant.start()
    assert plant.notices() == []  # in the same mode nobody is asked twice
    plant.rule(Mode.AUTO)
    assert plant.notices() == [route]
    plant.start()
    assert plant.notices() == []
    again = '["its release was proposed before; ben refused it: wrong springs"]'
    assert [state for state, _ in plant.releases()] == ["refused", "ready" if expired else "held"]
    assert plant.releases()[1][1] == ("[]" if expired else again)


def test_what_waits_for_a_signature_is_not_proposed_a_second_time(plant: Plant):
    """Held in assist: it stays so in auto, for a person."""
    plant.rule(Mode.ASSIST)
    assert plant.notices() == ["held"]
    plant.rule(Mode.AUTO)
    assert plant.notices() == []
    assert [state for state, _ in plant.releases()] == ["held"]


def test_what_was_a_dry_run_is_released_when_its_target_goes_live(plant: Plant):
    """Simulated, and the line got nothing."""
    plant.rule(Mode.AUTO, {"order_release": "dry-run"})
    assert plant.notices() == ["posted"]
    for dispatched in (False, True):  # while its dispatch still waits for the line it is not over
        claim(plant.writer, target=Narrow.name, limit=1, admit=lambda _: outbox.Simulate())
        plant.rule(Mode.AUTO)
        plant.start()
        assert plant.notices() == ["posted"] * dispatched
    assert [state for state, _ in plant.releases()] == ["simulated", "ready"]


@pytest.mark.parametrize("rejected", [False, True])
def test_what_was_sent_is_never_sent_by_itself_again(plant: Plant, rejected: bool):
    """Booked, or refused by the ERP: whatever the rules become, nothing follows; when it breaks, a person looks."""
    plant.rule(Mode.AUTO)
    assert plant.notices() == ["posted"]
    (one,) = claim(plant.writer, target=Narrow.name, limit=1)
    if rejected:
        plant.writer.call(lambda tx: outbox.dead(tx, one.posting, "locked"))
        plant.writer.call(lambda tx: outbox.refuse(tx, one.posting.id, by="ben", reason="by hand"))
    else:
        plant.writer.call(lambda tx: outbox.acknowledged(tx, one.posting, Acknowledgement("1000200")))
    for mode in (Mode.ADVISE, Mode.AUTO):
        plant.rule(mode)
        plant.start()
        assert plant.notices() == []
    assert plant.notices(live=DOWN) == ["posted"]
    assert plant.notices() == ["held"]
    (_, (_, why)) = plant.releases()
    assert "look whether its line has it" in why


@pytest.mark.parametrize("tells", [True, False])
def test_what_was_withdrawn_unsent_is_released_by_itself_when_it_can_be_made_again(plant: Plant, tells: bool):
    """A machine goes down before the release has left, and comes back: nothing is at the line, nobody is asked.

    It is withdrawn also where nobody is configured who could be told.
    """
    plant.tells = tells
    plant.rule(Mode.AUTO)
    assert plant.notices() == ["posted"]
    plant.notices(live=DOWN)
    assert [state for state, _ in plant.releases()] == ["refused"]
    assert plant.notices() == ["posted"]
    assert plant.releases()[-1] == ("ready", "[]")
