"""What people do at the command line while no agent runs: straight into the store, signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.commands.place import login
from agent.ports import Kind
from tests.command_line import DOCUMENT, filled, folder, gatepost_
from tests.stores import add, arrive, opened, posting


@pytest.fixture
def config(tmp_path):
    return filled(tmp_path)


def state(config: Path, posting: int) -> str:
    return str(json.loads(gatepost_(config, "approvals", "show", str(posting), "--json").out)["state"])


def last_act(config: Path, posting: int) -> dict[str, Any]:
    return dict(json.loads(gatepost_(config, "trace", f"posting:{posting}", "--json").out)["history"][-1])


@pytest.mark.parametrize(
    ("words", "posting", "after"),
    [
        (["approvals", "approve", "3"], 3, "ready"),
        (["approvals", "refuse", "3"], 3, "refused"),
        (["deadletter", "replay", "2"], 2, "ready"),
        (["deadletter", "refuse", "2"], 2, "refused"),
        (["deadletter", "refuse", "5"], 5, "refused"),
        (["deadletter", "document", "5", "2026/1"], 5, "acknowledged"),
        (["deadletter", "not-booked", "5"], 5, "ready"),
        (["reverse", DOCUMENT], 6, "ready"),
    ],
)
def test_an_act_is_done_and_signed(config, words, posting, after):
    """The posting moves, and the trail names who and why."""
    ran = gatepost_(config, *words, "--reason", "looked into it", "--by", login())
    assert ran.code == 0, ran.out
    assert login() in ran.out
    assert state(config, posting) == after
    act = last_act(config, posting)
    assert act["actor"] == login()
    assert "looked into it" in json.dumps(act["detail"])


def test_what_is_held_is_refused_by_an_approver_only(config):
    """`deadletter refuse` takes dead and doubtful postings alone, with an agent and without one."""
    ran = gatepost_(config, "deadletter", "refuse", "3", "--reason", "not needed")
    assert ran.code == 1
    assert state(config, 3) == "held"


def test_a_name_that_is_not_the_login_is_told_apart(config):
    """--by names another person; the trail says through whose login."""
    gatepost_(config, "deadletter", "replay", "2", "--reason", "stock was corrected", "--by", "Jo")
    assert last_act(config, 2)["actor"] == f"Jo via {login()}"


def test_without_a_reason_nothing_is_done(config):
    """Where nobody can be asked, a missing reason is exit code 2; an empty one too."""
    for reason in ([], ["--reason", " "]):
        ran = gatepost_(config, "approvals", "approve", "3", *reason)
        assert ran.code == 2
        assert "--reason" in ran.out
    assert state(config, 3) == "held"


def test_who_comes_second_hears_who_was_first(config):
    """A decided posting cannot be decided again; the message names who decided."""
    gatepost_(config, "approvals", "approve", "3", "--reason", "fine")
    ran = gatepost_(config, "approvals", "refuse", "3", "--reason", "not fine")
    assert ran.code == 1
    assert f"nothing was changed: posting 3 was already decided by {login()}: approved on 2" in ran.out
    assert ran.out.endswith(" UTC, and it is ready now")


def test_a_version_that_was_not_shown_is_not_signed(config):
    """--version binds the decision to what was looked at."""
    ran = gatepost_(config, "approvals", "approve", "3", "--version", "7", "--reason", "fine")
    assert ran.code == 1
    assert "posting 3 is still held, now in version 1 (7 was shown)" in ran.out
    assert state(config, 3) == "held"


def test_four_eyes_need_two_people(config):
    """The first signature leaves it held, the same person cannot give the second."""
    first = gatepost_(config, "approvals", "approve", "4", "--reason", "fine")
    assert "second person" in first.out
    assert gatepost_(config, "approvals", "approve", "4", "--reason", "fine").code == 1
    assert state(config, 4) == "held"
    assert gatepost_(config, "approvals", "approve", "4", "--reason", "fine", "--by", "Jo").code == 0
    assert state(config, 4) == "ready"


def test_four_eyes_that_came_later_count_without_an_agent_too(tmp_path):
    """What was held for one person needs two once the configuration says so, by the kind of its workflow."""
    config = filled(
        tmp_path, "workflows: {north: {kind: consumption, target: s4}}\nauthority: {north: {four_eyes: true}}\n"
    )
    assert "second person" in gatepost_(config, "approvals", "approve", "3", "--reason", "fine").out
    assert state(config, 3) == "held"
    late = gatepost_(config, "approvals", "approve", "3", "--version", "1", "--reason", "fine", "--by", "Jo")
    assert f"posting 3 was signed for the first time by {login()} on 2" in late.out
    assert gatepost_(config, "approvals", "approve", "3", "--reason", "fine", "--by", "Jo").code == 0
    assert state(config, 3) == "ready"


def test_pause_and_resume(config):
    """A pause is shown by status with its reason, and goes away with resume; once."""
    assert gatepost_(config, "pause", "order", "3", "--reason", "wrong list").code == 0
    assert "wrong list" in gatepost_(config, "status").out
    assert gatepost_(config, "resume", "order", "3", "--reason", "mended").code == 0
    assert gatepost_(config, "resume", "order", "3", "--reason", "mended").code == 1
    assert gatepost_(config, "pause", "building", "3", "--reason", "x").code == 2


def test_a_mistyped_target_is_not_called_paused(tmp_path):
    """Whoever pauses a target that is not there hears its right name; `*` is every one."""
    config = filled(tmp_path, "targets: [{name: s4, kind: sap_s4}]\n")
    ran = gatepost_(config, "pause", "target", "S4", "--reason", "SAP upgrade")
    assert ran.code == 1
    assert "did you mean 's4'" in ran.out
    for target in ("s4", "*"):
        assert gatepost_(config, "pause", "target", target, "--reason", "SAP upgrade").code == 0


def test_a_line_or_an_order_that_nobody_knows_is_not_called_paused(config):
    """A mistyped name is refused with those that are known; --force pauses what is to come."""
    line = gatepost_(config, "pause", "line", "mixng", "--reason", "scale")
    assert (line.code, "there is no line 'mixng'; did you mean 'mixing'?" in line.out) == (1, True), line.out
    order = gatepost_(config, "pause", "order", "1000999", "--reason", "wrong list")
    assert (order.code, "order 1000999 is not known" in order.out) == (1, True), order.out
    assert gatepost_(config, "pause", "line", "mixing", "--reason", "scale").code == 0
    assert gatepost_(config, "pause", "order", "1000999", "--force", "--reason", "wrong list").code == 0
    assert "order order/1000999" in gatepost_(config, "status").out


@pytest.mark.parametrize(
    ("option", "text", "told"),
    [
        ("--by", "Jo\x1b[31m", "control characters"),
        ("--by", "Jo via root", "must not contain ' via '"),
        ("--by", "J" * 65, "at most 64"),
        ("--reason", "fine\nnot fine", "control characters"),
        ("--reason", "fi\u202ene", "direction overrides"),
        ("--reason", "x" * 1001, "at most 1000"),
    ],
)
def test_what_is_signed_reads_as_it_was_meant(config, option, text, told):
    """Without a running agent the rules are those of the API: nothing that could fool whoever reads the trail."""
    words = {"--by": "Jo", "--reason": "fine"} | {option: text}
    ran = gatepost_(config, "approvals", "approve", "3", *(part for pair in words.items() for part in pair))
    assert (ran.code, told in ran.out) == (2, True), ran.out
    assert state(config, 3) == "held"


def test_a_document_or_a_name_with_control_characters_is_refused(config):
    """What stands in the trail as it was typed is one plain line, too."""
    for words in (["deadletter", "document", "5", "2026/1\x07"], ["pause", "line", "mix\x1bing", "--force"]):
        ran = gatepost_(config, *words, "--reason", "found")
        assert (ran.code, "control characters" in ran.out) == (2, True), ran.out


def test_a_quarantined_message_is_read_again(config):
    """`quarantine replay` puts it before the workflows; a second time there is nothing to replay."""
    assert gatepost_(config, "quarantine", "replay", "2", "--reason", "mapping mended").code == 0
    assert gatepost_(config, "quarantine", "replay", "2", "--reason", "mapping mended").code == 1
    assert json.loads(gatepost_(config, "trace", "2", "--json").out)["event"]["state"] == "undecided"


def test_only_what_is_read_again_by_itself_can_be_kept(config):
    """`quarantine keep` of a message that nothing would let in says so."""
    ran = gatepost_(config, "quarantine", "keep", "2", "--reason", "booked by hand")
    assert (ran.code, "waits for nothing" in ran.out) == (1, True), ran.out


def test_a_document_is_taken_back_once(config):
    """The second reversal of a document says which posting is already doing it."""
    gatepost_(config, "reverse", DOCUMENT, "--reason", "wrong order")
    ran = gatepost_(config, "reverse", DOCUMENT, "--reason", "wrong order")
    assert ran.code == 1
    assert "posting 6" in ran.out


def test_no_act_makes_a_store(tmp_path, config):
    """An act on a store that is not there is refused; no empty one appears in its place."""
    (tmp_path / "data" / "gatepost.db").rename(tmp_path / "elsewhere.db")
    assert gatepost_(config, "pause", "line", "mixing", "--reason", "x").code == 1
    assert not (tmp_path / "data" / "gatepost.db").exists()


@pytest.mark.parametrize(
    ("changes", "code", "why"),
    [("quantity=5", 1, "start it, then correct"), ("quantity", 2, "is no FIELD=VALUE")],
)
def test_a_correction_needs_the_agent_and_a_figure(config, changes, code, why):
    """Without the agent nobody knows what the ERP would refuse: nothing changes, and it says what to do."""
    ran = gatepost_(config, "approvals", "correct", "3", changes, "--reason", "weighed again", "--yes")
    assert ran.code == code
    assert why in " ".join(ran.out.split())
    assert state(config, 3) == "held"


def test_the_usual_causes_of_scrap_are_told_by_what_they_stand_for(tmp_path):
    """Of a confirmation without a reason: what this line told lately, and the causes that are booked by it."""
    edge = Path(__file__).resolve().parents[2] / "edge_config"
    config = folder(tmp_path, f"masterdata: {edge / 'masterdata'}\nunits: {edge / 'units.yaml'}\n")
    content = {"yield": "1", "scrap": "0.5", "rework": "0", "unit": "KGM", "order": "1"}
    with opened(tmp_path / "data" / "gatepost.db") as writer:
        arrive(writer, *(b'{"n": %d}' % n for n in range(4)))
        for n, reason in enumerate(("0002", "0001", "0002", ""), 1):
            told = {**content, "scrap_reason": reason}
            add(writer, posting(n, event_id=n, kind=Kind.CONFIRMATION, payload=told, reasons=("no reason",)))
    shown = " ".join(gatepost_(config, "approvals", "show", "4").out.split())
    assert (
        "cause may be 0002: set-up and first pieces, worn tool, machine trouble (2 of 3 on this line); "
        "gatepost approvals correct 4 scrap_reason=0002"
    ) in shown
    assert "cause may be" not in gatepost_(config, "approvals", "show", "1").out
