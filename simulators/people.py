"""The people of the bench, at the console and at the bench gateway, and what they may do: made anew for every run."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import yaml

from simulators.own_config import text_of

SIGNING = "GATEPOST_SECRET_GATEWAY_SIGNING"  # by which the agent looks up what signs for the gateway


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who works at the simulated line: scopes count at the console, the role wherever they sign."""

    scopes: Sequence[str]
    role: str


PEOPLE: Mapping[str, Person] = {
    "supervisor": Person(("read", "approve", "replay", "pause", "ingest"), "Supervisor"),
    "manager": Person(("read", "approve", "replay", "pause", "reverse", "ingest"), "Manager"),
    "worker": Person(("read", "approve", "ingest"), "Operator"),
    "quality": Person(("read", "approve", "ingest"), "Quality"),
    "it": Person(("read", "replay", "pause", "admin"), "IT"),
    "auditor": Person(("read",), "Auditor"),
}
ALL = "MM", "PP", "QM"
SIGNS = ["approve", "refuse", "correct", "replay", "pause"]
RIGHTS = (
    {"role": "Manager", "modules": [*ALL], "actions": [*SIGNS, "reverse", "read_sensitive"]},
    {"role": "Supervisor", "modules": [*ALL], "actions": [*SIGNS], "max_value": "5000"},
    {"role": "Operator", "modules": ["MM"], "actions": ["refuse"]},
    {"role": "Quality", "modules": ["MM", "QM"], "actions": ["approve", "refuse", "correct"], "max_value": "2000"},
    {"role": "IT", "modules": [*ALL], "actions": ["replay", "pause", "promote"]},
    {"role": "Auditor", "modules": [*ALL], "actions": ["read_sensitive"]},
)


@dataclass(frozen=True, slots=True)
class Keys:
    """What nobody may know before the bench runs."""

    password: str  # of all people
    token: str  # of the gateway
    signing: str  # what its envelopes are signed with

    @classmethod
    def new(cls) -> Keys:
        """Random ones; the password can be typed."""
        password = "-".join(secrets.token_hex(2) for _ in range(3))
        return cls(password, secrets.token_urlsafe(24), secrets.token_hex(32))

    def write(self, folder: Path) -> Mapping[str, Path]:
        """Into files that only this user can read; name → file."""
        found = {}
        for name, value in (("password", self.password), ("token", self.token), ("signing", self.signing)):
            found[name] = folder / f"gateway_{name}"
            found[name].touch(mode=0o600)
            found[name].write_text(value, encoding="utf-8")
        return found


def with_gateway(config: Path, folder: Path, token: str) -> Path | None:
    """A copy of a configuration, in `folder`, that knows the bench gateway and what its people may do.

    None where it has tokens or rights of its own, or no API: then it stays as it is.
    """
    try:
        text = text_of(config)
    except OSError:
        return None  # the agent says what is wrong with it
    if not re.search(r"^api:", text, re.M) or re.search(r"^(rights|  tokens):", text, re.M):
        return None
    known = {
        "name": "bench-gateway",
        "sha256": sha256(token.encode()).hexdigest(),
        "scopes": ["gateway"],
        "signing_secret": {"secret": "gateway_signing"},
    }
    text = re.sub(r"^api:.*\n", lambda found: f"{found[0]}  tokens: [{_flow(known)}]\n", text, flags=re.M)
    copy = folder / "agent.yaml"
    copy.write_text(f"# {config}, and the bench gateway\n{text}\n{_block({'rights': list(RIGHTS)})}", encoding="utf-8")
    return copy


def _flow(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip()


def _block(value: object) -> str:
    return yaml.safe_dump(value, sort_keys=False)
