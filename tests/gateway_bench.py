"""A gateway as the agent sees it: challenges, signs with its secret, and can be made to lie in every way."""

from __future__ import annotations

import hmac
import json
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from tests.api_bench import Bench, until

SECRET = "a" * 16 + "gateway-signing-secret"
RIGHTS: list[dict[str, Any]] = [
    {"role": "Supervisor", "modules": ["MM", "PP"], "actions": ["approve", "refuse", "correct", "read_sensitive"]},
    {"role": "Operator", "modules": ["MM"], "lines": ["mixing"], "actions": ["approve", "refuse"], "max_value": "10"},
    {"role": "Planner", "modules": ["PP"], "actions": ["approve", "refuse", "correct"]},
]
TOKENS: dict[str, dict[str, Any]] = {
    "gateway": {"scopes": ["gateway"], "signing_secret": {"secret": "gateway_signing"}},
    "other": {"scopes": ["gateway"], "lines": ["molding"], "signing_secret": {"secret": "other_signing"}},
    "anna": {"scopes": ["read", "approve"]},
    "omar": {"scopes": ["read", "approve"], "roles": ["Operator"]},
    "scale": {"scopes": ["ingest"]},
}


def secrets(folder: Path) -> None:
    """The signing secrets of this bench, where its agent looks for them."""
    for name, value in (("gateway_signing", SECRET), ("other_signing", "b" * 40)):
        path = folder / "secrets" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(value)
        path.chmod(0o600)


def tokens() -> list[dict[str, Any]]:
    """The tokens of this bench as the configuration writes them."""
    return [
        {"name": name, "sha256": sha256(f"{name}-secret".encode()).hexdigest(), **token}
        for name, token in TOKENS.items()
    ]


def envelope(body: bytes, nonce: str, *, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    """The headers of a signed body, written from the contract and not from the agent's code."""
    timestamp = str(int(time.time() if at is None else at))
    text = "\n".join((timestamp, nonce, sha256(body).hexdigest()))
    mac = hmac.new(secret.encode(), text.encode(), sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "X-Gatepost-Timestamp": timestamp,
        "X-Gatepost-Signature": mac,
    }


@dataclass
class Gateway:
    """One gateway with its token; `user` signs."""

    plant: Bench
    token: str = "gateway"
    user: str = "maria"
    roles: tuple[str, ...] = ("Supervisor",)
    secret: str = SECRET
    session_user: str = "panel-3"
    seen: dict[int, dict[str, Any]] = field(default_factory=dict)

    async def open(self, id: int) -> dict[str, Any]:
        """The posting as the session's user is shown it."""
        query = "&".join(f"roles={role}" for role in self.roles)
        shown: dict[str, Any] = await self.plant.get(f"/v1/approvals/{id}?{query}", self.token)
        self.seen[id] = shown
        return shown

    async def challenge(self, shown: dict[str, Any], decision: str = "approve", **changes: Any) -> httpx.Response:
        """Ask for a nonce."""
        body = {
            "version": shown["version"],
            "decision": decision,
            "session_user": self.session_user,
            "shown_sha256": shown["shown_sha256"],
            **changes,
        }
        return await self.plant.ask("POST", f"/v1/approvals/{shown['id']}/challenge", self.token, json=body)

    def words(self, shown: dict[str, Any], nonce: str, decision: str = "approve", **changes: Any) -> dict[str, Any]:
        """What is signed."""
        return {
            "nonce": nonce,
            "version": shown["version"],
            "decision": decision,
            "shown_sha256": shown["shown_sha256"],
            "meaning": f"I {decision} this posting",
            "reason": "weighed again: 12,5 kg ist richtig, geprüft",
            "comment": "",
            "signer": {
                "user": self.user,
                "full_name": self.user.capitalize() + " Huber",
                "roles": list(self.roles),
                "idp": "default",
            },
            "session_user": self.session_user,
            "gateway": "line3",
            "signed_at": "2026-11-20T14:01:02.000+00:00",
            **changes,
        }

    async def send(self, id: int, words: dict[str, Any], path: str = "sign", **lies: Any) -> httpx.Response:
        """Send signed words; `secret` and `at` make the envelope, `altered` replaces the body after it was signed."""
        altered = lies.pop("altered", None)
        headers = lies.pop("headers", None)
        body = json.dumps(words, ensure_ascii=False).encode()
        headers = headers if headers is not None else envelope(body, words["nonce"], **{"secret": self.secret, **lies})
        content = body if altered is None else altered
        return await self.plant.ask("POST", f"/v1/approvals/{id}/{path}", self.token, content=content, headers=headers)

    async def sign(self, id: int, decision: str = "approve", **changes: Any) -> httpx.Response:
        """Open, challenge and sign: what a person does."""
        shown = await self.open(id)
        given = await self.challenge(shown, decision)
        assert given.status_code == 200, given.text
        path = "correct" if decision == "correct" else "sign"
        return await self.send(id, self.words(shown, given.json()["nonce"], decision, **changes), path)


async def held(plant: Bench, id: str, **changes: Any) -> int:
    """A posting of this report that waits for a person."""
    assert (await plant.report(id, **changes)).status_code == 202

    async def found() -> Any:
        items = (await plant.get("/v1/approvals?limit=500"))["items"]
        return next((one["id"] for one in items if one["payload"].get("text") == id), None)

    number: int = await until(found)
    return number


async def refusals(plant: Bench, posting: int) -> list[str]:
    """The codes of what was refused about this posting, as the trail has them."""
    history = (await plant.get(f"/v1/trace/posting:{posting}"))["history"]
    return [
        row["detail"]["error"]
        for row in history
        if row["action"] == "signature_refused" and row["posting"] == posting and row["alarm"]
    ]
