"""What becomes of a lot, signed at a gateway: by who may, for what was shown, once; all else is refused, on record."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.api_bench import Bench, bench
from tests.gateway_bench import RIGHTS, envelope, secrets, tokens
from tests.lots_bench import configured, keep_lots

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("lots")
    secrets(folder)
    keep_lots(folder, ("L-1", "180", "major"))
    async with bench(folder, api={"tokens": tokens()}, rights=RIGHTS, **configured(folder)) as one:
        yield one


async def opened(plant: Bench, *roles: str) -> dict[str, Any]:
    query = "&".join(f"roles={role}" for role in roles)
    shown: dict[str, Any] = await plant.get(f"/v1/follow-ons/1?{query}", "gateway")
    return shown


async def challenge(plant: Bench, sha256: str, choice: str = "rework", token: str = "gateway") -> httpx.Response:
    body = {"choice": choice, "quantity": "20", "session_user": "panel-3", "shown_sha256": sha256}
    return await plant.ask("POST", "/v1/follow-ons/1/challenge", token, json=body)


async def sign(plant: Bench, sha256: str, nonce: str, *roles: str, **changes: Any) -> httpx.Response:
    words = {
        "nonce": nonce, "choice": "rework", "quantity": "20", "shown_sha256": sha256, "meaning": "I choose rework",
        "reason": "can be polished", "comment": "", "session_user": "panel-3", "gateway": "line3",
        "signer": {"user": "maria", "full_name": "Maria Huber", "roles": list(roles), "idp": "default"},
        "signed_at": "2026-11-20T14:01:02.000+00:00", **changes,
    }  # fmt: skip
    body = json.dumps(words).encode()
    headers = envelope(body, nonce)
    return await plant.ask("POST", "/v1/follow-ons/1/sign", "gateway", content=body, headers=headers)


async def test_only_who_may_approve_what_keeps_the_lot_chooses_and_only_what_was_asked_for(plant: Bench):
    """Another role, another choice, a lot that is not as it was shown, the token alone: refused, and each an alarm."""
    sha256 = (await opened(plant, "Supervisor"))["shown_sha256"]
    assert [(await opened(plant, role))["may"] for role in ("Supervisor", "Planner")] == [True, False]
    answers = [
        await challenge(plant, "0" * 64),
        await sign(plant, sha256, (await challenge(plant, sha256)).json()["nonce"], "Planner"),
        await sign(plant, sha256, (await challenge(plant, sha256)).json()["nonce"], "Supervisor", choice="scrap"),
        await sign(plant, sha256, (await challenge(plant, sha256)).json()["nonce"], "Supervisor", quantity="180"),
        await sign(plant, sha256, "q" * 43, "Supervisor"),
    ]
    told = [answer.json()["error"] for answer in answers]
    assert told == ["record_changed", "no_right", "nonce_mismatch", "nonce_mismatch", "nonce_unknown"]
    assert [answer.status_code for answer in answers] == [409, 403, 409, 409, 409]
    body = {"choice": "rework", "reason": "can be polished"}
    assert (await plant.ask("POST", "/v1/follow-ons/1", "gateway", json=body)).status_code == 403
    alarms = (await plant.get("/v1/audit?alarms=true&limit=100"))["items"]
    refused = [one["detail"]["error"] for one in alarms if one["action"] == "signature_refused"]
    assert sorted(refused) == sorted(told)
    assert (await opened(plant, "Supervisor"))["left"] == "180"


async def test_a_signed_choice_counts_once_with_all_that_was_signed(plant: Bench):
    """It is on record with name, meaning and the hash of what was shown; neither a replay nor another nonce counts."""
    sha256 = (await opened(plant, "Supervisor"))["shown_sha256"]
    first, second = [(await challenge(plant, sha256)).json()["nonce"] for _ in range(2)]
    answer = await sign(plant, sha256, first, "Supervisor")
    assert answer.json()["message"] == "rework is chosen by maria for 20 PC of lot L-1: its draft waits for a signature"
    again = [await sign(plant, sha256, nonce, "Supervisor") for nonce in (first, second)]
    assert [one.json()["error"] for one in again] == ["nonce_used", "record_changed"]
    assert (await opened(plant, "Supervisor"))["left"] == "160"
    rows = (await plant.get("/v1/audit?limit=500"))["items"]
    (entered,) = [one for one in rows if one["action"] == "follow_on_entered"]
    assert entered["actor"] == "maria via gateway"
    kept = {name: entered["detail"][name] for name in ("choice", "quantity", "full_name", "said", "shown_sha256")}
    assert kept == {"choice": "rework", "quantity": "20", "full_name": "Maria Huber", "said": "I choose rework",
                    "shown_sha256": sha256}  # fmt: skip
