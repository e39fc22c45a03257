"""Every deliberate error, named by what happens next.

GatepostError
├── ConfigError        the agent does not start (exit 2); all findings at once
├── StoreError         the store cannot be used as it is
│   ├── StoreLocked    another agent owns the file (exit 3)
│   ├── StoreCorrupt   the file is damaged: refused, set aside by a person, never replaced (exit 4)
│   └── StoreUnfit     the SQLite library or the file's version does not fit (exit 2)
├── BadPayload         the event is quarantined with the reason, shown, exportable; nothing is posted
├── SourceLost         the source reconnects; logged once when lost, once when back
├── ErpError           what the ERP, or the way to it, answered
│   ├── ErpUnavailable nothing was sent: the target pauses, no attempt is counted
│   ├── ErpInDoubt     sent, but the outcome is unknown: `find` before any repost
│   └── ErpRejected    a real refusal: dead letter, a person decides
├── ModelUnfit         card and model disagree, or inputs are out of range: hold, never guess
├── Conflict           somebody else was first: says who, and what stands now
│   └── Unproven       a version has not shown that it is better: says what is missing; a person may insist
└── NotFound           there is no such thing: says what was looked for

A message says what, where, which value, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class GatepostError(Exception):
    """Base of every deliberate error; without a message its docstring explains it."""

    exit_code = 1

    def __str__(self) -> str:
        return super().__str__() or (type(self).__doc__ or "").strip().splitlines()[0]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong in a configuration file, printed as ``file:line: path: message (value)``."""

    file: str
    line: int
    path: str
    message: str
    value: str = ""

    def __str__(self) -> str:
        shown = f" ({self.value})" if self.value else ""
        where = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}: {where}{self.message}{shown}"


class ConfigError(GatepostError):
    """The configuration is wrong; the agent does not start."""

    exit_code = 2

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = tuple(findings)


class StoreError(GatepostError):
    """The store cannot be used as it is."""


class StoreLocked(StoreError):
    """Another agent owns this store; stop it first, or give this one its own data folder."""

    exit_code = 3


class StoreCorrupt(StoreError):
    """The store file is damaged; run `gatepost recover`. It is never replaced by an empty one."""

    exit_code = 4


class StoreUnfit(StoreError):
    """The SQLite library or the file's version does not fit this agent."""

    exit_code = 2


class BadPayload(GatepostError):
    """What arrived cannot be read as what it claims to be; `field` names the place.

    `awaits` is the master data (kind and number) that was missing: once it is known, the event is read again.
    """

    def __init__(
        self, message: str, *, field: str = "", reason: str = "unmapped", awaits: tuple[str, str] | None = None
    ) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.reason = reason  # low-cardinality code for metrics, for example "not_json"
        self.awaits = awaits


class SourceLost(GatepostError):
    """The connection to a source broke; it is being re-established."""


class ErpError(GatepostError):
    """What the ERP, or the way to it, answered.

    `code` is the ERP's own code (for SAP message class/number such as ``M7/021``), `details` what a person
    needs to look it up there (for SAP ``transactionid`` and ``timestamp``), `retry_after` seconds the ERP asked for.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        details: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = dict(details or {})
        self.retry_after = retry_after


class ErpUnavailable(ErpError):
    """Nothing was sent: not connected, not authorised, busy or locked; try again later."""

    def __init__(self, message: str, *, scope: str = "target", **kwargs: object) -> None:
        super().__init__(message, **kwargs)  # type: ignore[arg-type]  # same keywords as ErpError
        self.scope = scope  # "target": the whole target pauses; "lane": only this ordering key (423 Locked)


class ErpInDoubt(ErpError):
    """Sent, but the answer is missing or unreadable: look for the document before any repost."""


class ErpRejected(ErpError):
    """The ERP refused the posting in its own words; a person decides."""


class ModelUnfit(GatepostError):
    """Card and model disagree, or inputs are out of range: hold, never guess."""


class Conflict(GatepostError):
    """Somebody else was first; `by` says who, `state` and `version` what stands now."""

    def __init__(self, message: str, *, by: str = "", version: int = 0, state: str = "") -> None:
        super().__init__(message)
        self.by = by
        self.version = version
        self.state = state


class Unproven(Conflict):
    """A version of a model has not shown here that it is better than the one that decides; a person may insist."""


class NotFound(GatepostError):
    """There is no such thing."""
