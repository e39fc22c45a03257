"""Who may use the API: bearers of tokens, known by their hash, and what each may do."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, Field, field_validator

from agent.access.secrets import Secret
from agent.strict.schema import Name, Settings

LEAST_SIGNING_SECRET: Final = 32  # characters


class Scope(StrEnum):
    """What the bearer of an API token may do."""

    READ = "read"
    APPROVE = "approve"
    REPLAY = "replay"
    PAUSE = "pause"
    REVERSE = "reverse"
    INGEST = "ingest"
    GATEWAY = "gateway"
    ADMIN = "admin"


def _free(name: str) -> str:
    if name in _OTHERS:
        raise ValueError(f"{name!r} is taken: the audit trail calls {_OTHERS[name]} so; take another name")
    return name


_OTHERS: Final = {
    "agent": "what nobody decided", "operator": "the command line", "unknown": "whoever is refused at the door"
}  # fmt: skip
Bearer = Annotated[Name, AfterValidator(_free)]  # of a token, or a user of the console


class Token(Settings):
    """Somebody who may use the API. The token itself is kept nowhere, only its hash."""

    name: Bearer = Field(description="Who it is; appears in the audit trail")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the token, 64 hexadecimal digits")
    scopes: tuple[Scope, ...] = Field(min_length=1, description="What it may do")
    lines: tuple[str, ...] = Field(default=(), description="The lines it may see and decide about; none: all")
    acts_for_people: bool = Field(
        default=False,
        description="It may name whom it acts for (`on_behalf_of`): only for a gateway that logs people on itself",
    )
    roles: tuple[str, ...] = Field(
        default=(), description="Roles as in `rights`, which then limit what it decides and reads; none: its scopes do"
    )
    signing_secret: Secret | None = Field(
        default=None, description="For the scope `gateway`: what signs its envelopes, at least 32 characters"
    )

    @field_validator("signing_secret")
    @classmethod
    def _cannot_be_guessed(cls, secret: Secret | None) -> Secret | None:
        if secret is not None and len(secret.reveal()) < LEAST_SIGNING_SECRET:
            raise ValueError(f"has fewer than {LEAST_SIGNING_SECRET} characters; make one with `openssl rand -hex 32`")
        return secret
