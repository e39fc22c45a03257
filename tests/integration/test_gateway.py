"""What a gateway may do at a running agent: look, challenge, sign; and every way in which a signature is refused."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import pytest
import pytest_asyncio

from tests.api_bench import CONSUMPTION, Bench, bench, until
from tests.gateway_bench import RIGHTS, Gateway, held, refusals, secrets, tokens

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("gateway")
    secrets(folder)
    api = {"tokens": tokens(), "rate_per_second": 2000}
    async with bench(folder, api=api, rights=RIGHTS, sensitive=["batch"]) as one:
        yield one


@pytest.fixture
def gateway(plant: Bench) -> Gateway:
    return Gateway(plant)


# ── what is signed counts ───────────────────────────────────────────────────────────────────────────────────


async def test_a_signature_approves_and_everything_of_it_is_kept(plant: Bench, gateway: Gateway):
    """The posting reaches the ERP, and the trail has who signed as whom, meaning what, where, about which content."""
    id = await held(plant, "sign-1")
    answer = await gateway.sign(id)
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "ready"
    assert answer.json()["message"] == f"posting {id} is approved by maria: it goes to the ERP"

    async def booked() -> Any:
        return (await plant.get(f"/v1/approvals/{id}"))["document"]

    await until(booked)
    history = (await plant.get(f"/v1/trace/posting:{id}"))["history"]
    (row,) = [one for one in history if one["action"] == "approved"]
    kept = row["detail"]
    assert row["actor"] == "maria via gateway"
    assert (kept["full_name"], kept["idp"], kept["gateway"]) == ("Maria Huber", "default", "line3")
    assert (kept["roles"], kept["session_user"], kept["said"]) == (["Supervisor"], "panel-3", "I approve this posting")
    assert (kept["signed_at"], kept["reason"]) == (
        "2026-11-20T14:01:02.000+00:00",
        "weighed again: 12,5 kg ist richtig, geprüft",
    )
    assert kept["shown_sha256"] == gateway.seen[id]["shown_sha256"]


async def test_the_hash_is_that_of_the_record_that_is_shown(plant: Bench, gateway: Gateway):
    """Whoever hashes `record` gets `shown_sha256`; reading it again gives the same; the record explains itself."""
    id = await held(plant, "record-2", quantity=26)
    first, again = await gateway.open(id), await gateway.open(id)
    text = json.dumps(first["record"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert first["shown_sha256"] == again["shown_sha256"] == sha256(text.encode()).hexdigest()
    record = first["record"]
    assert (record["module"], record["quantity"], record["unit"], record["currency"]) == ("MM", "26.000", "KG", "EUR")
    assert record["floor"]["message"] == "record-2"
    assert float(record["expected"]["least"]) < float(record["expected"]["quantity"]) < 26
    assert {"name": "GoodsMovementType", "value": "261"} in record["will_post"]
    assert first["allowed"] == ["approve", "refuse", "correct"]


async def test_what_is_refused_is_never_posted(plant: Bench, gateway: Gateway):
    """A signed refusal ends the posting."""
    id = await held(plant, "refuse-3")
    answer = await gateway.sign(id, "refuse")
    assert (answer.status_code, answer.json()["state"]) == (200, "refused")


async def test_of_two_supervisors_one_wins_and_the_other_learns_who(plant: Bench, gateway: Gateway):
    """Both have a nonce; the second signature changes nothing and is told by whom it was decided."""
    id = await held(plant, "race-4")
    ben = Gateway(plant, user="ben")
    shown = await gateway.open(id)
    nonces = [(await one.challenge(shown)).json()["nonce"] for one in (gateway, ben)]
    answers = await asyncio.gather(
        *(one.send(id, one.words(shown, nonce)) for one, nonce in zip((gateway, ben), nonces, strict=True))
    )
    won, lost = sorted(answers, key=lambda one: one.status_code)
    assert (won.status_code, lost.status_code, lost.json()["error"]) == (200, 409, "conflict")
    assert lost.json()["decided_by"] == won.json()["by"]
    assert await refusals(plant, id) == ["conflict"]


async def test_a_corrected_quantity_is_what_the_erp_books(plant: Bench, gateway: Gateway):
    """The correction is a posting of its own that supersedes the old one; the trail has both figures and who signed."""
    id = await held(plant, "correct-4", quantity=26)
    answer = await gateway.sign(id, "correct", changes={"quantity": "13.100"}, reason="scale not tared")
    assert answer.status_code == 200, answer.text
    new = answer.json()
    assert (new["supersedes"], new["state"]) == (id, "ready")
    assert (await plant.get(f"/v1/approvals/{id}"))["state"] == "superseded"

    async def booked() -> Any:
        found = await plant.get(f"/v1/approvals/{new['id']}")
        return found if found["document"] else None

    done = await until(booked)
    assert (done["payload"]["quantity"], done["payload"]["floor_quantity"]) == ("13.100", "26")
    assert done["record"]["supersedes"] == id
    history = (await plant.get(f"/v1/trace/posting:{new['id']}"))["history"]
    (row,) = [one for one in history if one["action"] == "corrected"]
    assert (row["actor"], row["detail"]["changes"]) == ("maria via gateway", {"quantity": ["26.000", "13.100"]})
    assert [one["detail"]["full_name"] for one in history if one["action"] == "approved"] == ["Maria Huber"]


async def test_a_correction_is_bound_by_the_same_rules(plant: Bench, gateway: Gateway):
    """What the ERP would refuse, what is none, and a role that may only approve change nothing and are on record."""
    id = await held(plant, "correct-5", quantity=26)
    for changes, error in (({"quantity": "13.10001"}, "erp_would_refuse"), ({"batch": "1"}, "bad_request")):
        answer = await gateway.sign(id, "correct", changes=changes)
        assert (answer.status_code, answer.json()["error"]) == (422, error), answer.text
    answer = await Gateway(plant, roles=("Operator",)).sign(id, "correct", changes={"quantity": "1"})
    assert (answer.status_code, answer.json()["error"]) == (403, "no_right")
    shown = await gateway.open(id)
    words = gateway.words(shown, (await gateway.challenge(shown)).json()["nonce"], changes={"quantity": "1"})
    assert (await gateway.send(id, words)).status_code == 422, "an approval changes nothing"
    assert await still_held(plant, id)
    assert await refusals(plant, id) == ["erp_would_refuse", "bad_request", "no_right"]


# ── what is not signed as it must be is refused, and on record ──────────────────────────────────────────────


async def still_held(plant: Bench, id: int) -> bool:
    return bool((await plant.get(f"/v1/approvals/{id}"))["state"] == "held")


async def test_a_replayed_signature_counts_once(plant: Bench, gateway: Gateway):
    """The same bytes again are told that the nonce was used, and what became of the posting."""
    id = await held(plant, "replay-5")
    shown = await gateway.open(id)
    words = gateway.words(shown, (await gateway.challenge(shown)).json()["nonce"])
    assert (await gateway.send(id, words)).status_code == 200
    again = await gateway.send(id, words)
    assert (again.status_code, again.json()["error"]) == (409, "nonce_used")
    assert again.json()["decided_by"] == "maria via gateway"
    assert await refusals(plant, id) == ["nonce_used"]


@pytest.mark.parametrize(
    ("lie", "status", "error"),
    [
        ("altered", 401, "signature_wrong"),
        ("forged", 401, "signature_wrong"),
        ("unsigned", 401, "signature_missing"),
        ("late", 401, "clock_off"),
        ("ahead", 401, "clock_off"),
    ],
)
async def test_an_envelope_that_is_not_in_order_is_refused(plant: Bench, gateway: Gateway, lie, status, error):
    """Altered on the way, made with another secret, unsigned, or by a clock that is 90 s off: nothing happens."""
    id = await held(plant, f"{lie}-6")
    shown = await gateway.open(id)
    words = gateway.words(shown, (await gateway.challenge(shown)).json()["nonce"])
    changed = json.dumps({**words, "reason": "somebody else's words"}).encode()
    lies: dict[str, dict[str, Any]] = {
        "altered": {"altered": changed},
        "forged": {"secret": "x" * 40},
        "unsigned": {"headers": {"Content-Type": "application/json"}},
        "late": {"at": time.time() - 90},
        "ahead": {"at": time.time() + 90},
    }
    answer = await gateway.send(id, words, **lies[lie])
    assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text
    assert await still_held(plant, id)
    assert await refusals(plant, id) == [error]


async def test_a_nonce_is_for_one_decision_of_one_session_at_one_gateway(plant: Bench, gateway: Gateway):
    """Another posting, decision, session user or gateway cannot use it; whoever tried has used it up."""
    id, second = await held(plant, "bound-7"), await held(plant, "bound-8")
    shown, other = await gateway.open(id), await gateway.open(second)
    for changes in ({"decision": "refuse"}, {"session_user": "somebody"}, {"version": 2}):
        nonce = (await gateway.challenge(shown)).json()["nonce"]
        answer = await gateway.send(id, gateway.words(shown, nonce, **changes))
        assert (answer.status_code, answer.json()["error"]) == (409, "nonce_mismatch")
        assert (await gateway.send(id, gateway.words(shown, nonce))).json()["error"] == "nonce_used"
    nonce = (await gateway.challenge(shown)).json()["nonce"]
    assert (await gateway.send(second, gateway.words(other, nonce))).json()["error"] == "nonce_mismatch"

    nonce = (await gateway.challenge(shown)).json()["nonce"]
    stranger = Gateway(plant, token="other", secret="b" * 40)
    assert (await stranger.send(id, stranger.words(shown, nonce))).json()["error"] == "nonce_unknown"
    assert (await gateway.send(id, gateway.words(shown, "0" * 43))).json()["error"] == "nonce_unknown"
    assert await still_held(plant, id)
    assert (await gateway.send(id, gateway.words(shown, nonce))).status_code == 200, "strangers do not use it up"


async def test_a_signature_of_which_nobody_knows_is_not_told_as_refused(plant: Bench, gateway: Gateway, monkeypatch):
    """The commit takes too long to wait for, and comes: the trail has the approval, and no refusal beside it."""
    id = await held(plant, "late-41")
    shown = await gateway.open(id)
    nonce = (await gateway.challenge(shown)).json()["nonce"]
    monkeypatch.setattr("agent.people.approving.ACT_S", 0.0)
    answer = await gateway.send(id, gateway.words(shown, nonce))
    monkeypatch.undo()
    assert (answer.status_code, answer.json()["error"]) == (503, "store_unavailable")

    async def approved() -> bool:
        return bool((await plant.get(f"/v1/approvals/{id}"))["state"] != "held")

    await until(approved)
    assert await refusals(plant, id) == []


async def test_a_nonce_expires(plant: Bench, gateway: Gateway):
    """After five minutes it is good for nothing."""
    id = await held(plant, "expires-9")
    shown = await gateway.open(id)
    nonce = (await gateway.challenge(shown)).json()["nonce"]
    long_ago = "UPDATE challenge SET expires_us = expires_us - 301000000 WHERE nonce = ?"
    await plant.agent.writer.run(lambda tx: tx.execute(long_ago, (nonce,)))
    answer = await gateway.send(id, gateway.words(shown, nonce))
    assert (answer.status_code, answer.json()["error"]) == (409, "nonce_expired")


async def test_a_signature_for_a_changed_record_is_void(plant: Bench, gateway: Gateway):
    """What was shown must be what is there: another hash gets no nonce, and a change after the challenge voids it."""
    id = await held(plant, "changed-10")
    shown = await gateway.open(id)
    answer = await gateway.challenge(shown, shown_sha256="0" * 64)
    assert (answer.status_code, answer.json()["error"]) == (409, "record_changed")
    nonce = (await gateway.challenge(shown)).json()["nonce"]
    change = "UPDATE posting SET reasons = '[\"something else\"]' WHERE id = ?"
    await plant.agent.writer.run(lambda tx: tx.execute(change, (id,)))
    answer = await gateway.send(id, gateway.words(shown, nonce))
    assert (answer.status_code, answer.json()["error"]) == (409, "record_changed")
    assert await refusals(plant, id) == ["record_changed", "record_changed"]


@pytest.mark.parametrize("roles", [(), ("Planner",), ("supervisor",), ("Operator",)])
async def test_a_role_without_the_right_is_refused(plant: Bench, roles):
    """No role, one of another module, one that is spelt otherwise, and one whose limit is lower may not approve."""
    id = await held(plant, f"role-1{len(''.join(roles))}")
    nobody = Gateway(plant, roles=roles)
    answer = await nobody.sign(id)
    assert (answer.status_code, answer.json()["error"]) == (403, "no_right"), answer.text
    assert await refusals(plant, id) == ["no_right"]
    assert await still_held(plant, id)
    assert nobody.seen[id]["allowed"] == (["refuse"] if roles == ("Operator",) else [])


async def test_the_token_alone_decides_nothing(plant: Bench, gateway: Gateway):
    """The gateway's token without a signature may look, and is refused everywhere else."""
    id = await held(plant, "token-12")
    asked = {"expected_version": 1, "reason": "because"}
    for path in (f"/v1/approvals/{id}/approve", f"/v1/approvals/{id}/refuse", "/v1/pause"):
        assert (await plant.ask("POST", path, "gateway", json=asked)).status_code == 403
    for path in ("/v1/audit", "/v1/quarantine", "/v1/status"):
        assert (await plant.ask("GET", path, "gateway")).status_code == 403
    assert (await plant.ask("POST", f"/v1/approvals/{id}/challenge", "anna", json={})).status_code == 403
    other = Gateway(plant, token="other")
    assert (await plant.ask("GET", f"/v1/approvals/{id}", other.token)).status_code == 404
    assert (await plant.get("/v1/board", other.token))["approvals"] == []


# ── the board ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_board_shows_what_is_held_and_says_when_nothing_changed(plant: Bench, gateway: Gateway):
    """A held posting is on it with all that the queue shows; asked again with its version it says `unchanged`."""
    id = await held(plant, "board-13", quantity=26)
    before = await plant.get("/v1/board", "gateway")
    (line,) = [one for one in before["approvals"] if one["id"] == id]
    assert (line["line"], line["module"], line["material"], line["quantity"]) == ("mixing", "MM", "RM-RESIN", "26.000")
    assert (line["unit"], line["currency"], line["risk"]) == ("KG", "EUR", "medium")
    assert "26" in line["reason"]
    assert before["counts"]["held"] == len(before["approvals"])
    assert [one["name"] for one in before["health"]["targets"]] == ["s4"]
    (order,) = [one for one in before["orders"] if one["order"] == "1000100"]
    assert order["held"] == before["counts"]["held"]

    async def quiet() -> Any:
        version = (await plant.get("/v1/board", "gateway"))["version"]
        again = await plant.get(f"/v1/board?since={version}", "gateway")
        return again if again["unchanged"] else None

    again = await until(quiet)
    assert set(again) == {"version", "now", "unchanged"}
    assert (await gateway.sign(id, "refuse")).status_code == 200
    after = await plant.get(f"/v1/board?since={again['version']}", "gateway")
    assert after["unchanged"] is False
    assert id not in [one["id"] for one in after["approvals"]]


async def test_what_happened_before_for_the_same_cause_is_shown(plant: Bench, gateway: Gateway):
    """An earlier posting of the line that was held for the same reason, with what became of it and why."""
    first = await held(plant, "before-14", quantity=39)
    assert (await gateway.sign(first, "refuse", reason="scale not tared")).status_code == 200
    second = await held(plant, "before-15", quantity=39)
    found = (await gateway.open(second))["history"]
    (alike,) = [one for one in found if one["id"] == first]
    assert (alike["state"], alike["decided_by"], alike["why"]) == ("refused", "maria via gateway", "scale not tared")


async def test_what_is_sensitive_is_masked_for_who_may_not_read_it(plant: Bench, gateway: Gateway):
    """A role without `read_sensitive` sees stars also in the ERP's words, and signs exactly what it saw."""
    id = await held(plant, "masked-16", quantity=1, lot_quantity=1)
    operator = Gateway(plant, user="omar", roles=("Operator",))
    shown, whole = await operator.open(id), await gateway.open(id)
    assert shown["payload"]["batch"] == shown["record"]["payload"]["batch"] == "***"
    assert "0000000301" not in json.dumps(shown)
    assert (shown["masked"], whole["masked"]) == (["batch"], [])
    assert whole["record"]["payload"]["batch"] == "0000000301"
    assert whole["record"]["payload_sha256"] == whole["record_hash"] != shown["record_hash"]
    assert shown["shown_sha256"] != whole["shown_sha256"]
    nonce = (await operator.challenge(shown)).json()["nonce"]
    answer = await operator.send(id, operator.words(shown, nonce))
    assert answer.status_code == 200, answer.text
    history = (await plant.get(f"/v1/trace/posting:{id}"))["history"]
    assert [one["detail"]["not_shown"] for one in history if one["action"] == "approved"] == [["batch"]]


async def test_roles_limit_tokens_too(plant: Bench):
    """A token with roles approves and reads only as far as these may; one without does as its scopes say."""
    dear, cheap = await held(plant, "roles-17"), await held(plant, "roles-18", quantity=1, lot_quantity=1)

    async def decide(id: int, meaning: str) -> tuple[int, str]:
        asked = {"expected_version": 1, "reason": "looked at it"}
        answer = await plant.ask("POST", f"/v1/approvals/{id}/{meaning}", "omar", json=asked)
        return answer.status_code, answer.json().get("message", "")

    status, why = await decide(dear, "approve")
    assert (status, "above 10.00" in why) == (403, True), why
    assert (await decide(cheap, "approve"))[0] == 200
    assert (await decide(dear, "refuse"))[0] == 200
    assert await refusals(plant, dear) == ["no_right"]


async def test_what_is_sensitive_stays_where_it_is_allowed(plant: Bench, caplog: pytest.LogCaptureFixture):
    """Neither lists, traces, the trail nor raw messages show it to a role without the right; logs and metrics never."""
    caplog.set_level("DEBUG")
    secret = "LOT-OF-A-SECRET-SUPPLIER"[:10]
    id = await held(plant, "veil-19", batch=secret)
    await plant.ask(
        "POST", f"/v1/events/{CONSUMPTION}", "scale", content=b'{"id": "half", "batch": "%s"' % secret.encode()
    )

    async def quarantined() -> Any:
        return any(secret in one["payload"] for one in (await plant.get("/v1/quarantine"))["items"])

    await until(quarantined)
    digest = (await plant.get(f"/v1/approvals/{id}"))["record_hash"]
    for path in (
        f"/v1/approvals/{id}",
        "/v1/approvals?limit=500",
        f"/v1/trace/posting:{id}",
        "/v1/quarantine",
        "/v1/audit?limit=9",
    ):
        assert secret in (await plant.ask("GET", path, "anna")).text or "audit" in path, path
        for token in ("omar", "gateway"):
            answer = await plant.ask("GET", path, token)
            assert secret not in answer.text, (path, token)
            assert digest not in answer.text, "whoever knows all the rest would find it by trying"
            assert answer.status_code == (200 if token == "omar" or id_in(path, id) else 403), answer.text
    assert (await plant.ask("GET", "/v1/audit/export", "omar")).status_code == 403
    assert secret not in (await plant.client.get(f"{plant.management}/metrics")).text
    assert [one for one in caplog.messages if secret in one] == []


def id_in(path: str, id: int) -> bool:
    """Whether the path is of this one posting: what a gateway may read."""
    return str(id) in path.rpartition("/")[2]
