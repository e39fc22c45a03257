"""What people may do through OPC UA: list, approve and refuse what is held, exactly as through the HTTP API."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from agent.access.callers import Forbidden, Identity
from agent.access.masking import veiled
from agent.access.signing import LONGEST_NAME, LONGEST_REASON, person, readable
from agent.access.tokens import Scope
from agent.app import Agent
from agent.errors import Conflict, GatepostError, NotFound, StoreError
from agent.opcua.address_space import Call
from agent.opcua.nodes import METHODS, Kind, Method
from agent.people.approving import Asked, committed, decide
from agent.people.veil import covered
from agent.store import lists

log = logging.getLogger("gatepost.opcua")

MOST_LISTED: Final = 100
AGAIN: Final = "call again with the same ExpectedVersion: it is decided once at most"
QUIET_S: Final = 60.0  # the same refusal of the same user is audited once in this time
_CODES: Final = ((NotFound, "not_found"), (Conflict, "conflict"), (StoreError, "store_unavailable"))
_FITS: Final[Mapping[Kind, Callable[[object], bool]]] = {
    Kind.INT: lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63,
    Kind.TEXT: lambda value: isinstance(value, str),
}

Act = Callable[..., Coroutine[Any, Any, list[Any]]]


class Methods:
    """The methods of one agent. `calling` says who calls now; None: nobody who may."""

    def __init__(self, agent: Agent, calling: Callable[[], Identity | None]) -> None:
        self._agent = agent
        self._calling = calling
        self._audited: dict[tuple[str, str], float] = {}

    def table(self) -> dict[str, Call]:
        """Name → what runs when it is called."""
        acts: dict[str, tuple[Scope, Act]] = {
            "ListHeld": (Scope.READ, self._list_held),
            "Approve": (Scope.APPROVE, self._approve),
            "Refuse": (Scope.APPROVE, self._refuse),
        }
        return {one.name: self._guarded(one, *acts[one.name]) for one in METHODS}

    def _guarded(self, method: Method, scope: Scope, act: Act) -> Call:
        """The act behind its scope and its arguments; whatever goes wrong becomes a status code."""

        async def call(parent: ua.NodeId, *given: ua.Variant) -> ua.CallMethodResult:
            caller = self._calling()
            if caller is None:
                return _ended(StatusCodes.BadUserAccessDenied)
            try:
                caller.require(scope)
                wrong = _misfit(method, given)
                return wrong or _told(*await act(caller, *(one.Value for one in given)))
            except Forbidden as error:
                await self._note_refused(caller, method.name, error)
                return _ended(StatusCodes.BadUserAccessDenied)
            except GatepostError as error:
                log.warning("OPC UA method %s: %s", method.name, error)
                return _ended(StatusCodes.BadResourceUnavailable)
            except Exception:  # a mistake of ours costs this call, never the session or the agent
                log.exception("OPC UA method %s failed", method.name)
                return _ended(StatusCodes.BadInternalError)

        return call

    async def _list_held(self, caller: Identity, limit: int) -> list[Any]:
        desk = self._agent.desk
        most = min(limit, MOST_LISTED)
        found = await asyncio.to_thread(
            desk.look, lambda connection: lists.to_decide(connection, limit=most, lines=caller.lines)
        )
        return [_json({"items": veiled(found, covered(self._agent.config, caller))})]

    async def _approve(self, caller: Identity, *asked: Any) -> list[Any]:
        return await self._decide("approve", caller, *asked)

    async def _refuse(self, caller: Identity, *asked: Any) -> list[Any]:
        return await self._decide("refuse", caller, *asked)

    async def _decide(
        self, meaning: str, caller: Identity, posting: int, version: int, reason: str, on_behalf_of: str = ""
    ) -> list[Any]:
        """Done, and the answer. That somebody else was first is an answer, not a failure of the call."""
        try:
            why = _line(reason, LONGEST_REASON, readable, "Reason")
            whom = _line(on_behalf_of, LONGEST_NAME, person, "OnBehalfOf") if on_behalf_of.strip() else None
        except ValueError as error:
            return [False, _json({"error": "bad_request", "message": str(error)})]
        try:
            wanted, rights = Asked(meaning, posting, version, why, whom), self._agent.config.rights
            answer = await decide(self._agent.desk, wanted, caller, rights, AGAIN)
        except (NotFound, Conflict, StoreError) as error:
            return [False, _json(_refusal(error))]
        return [True, _json(answer)]

    async def _note_refused(self, caller: Identity, method: str, error: Forbidden) -> None:
        """In the audit trail, once in a while: repeating a call must not fill the disk."""
        now = time.monotonic()
        if now - self._audited.get((caller.name, method), -QUIET_S) < QUIET_S:
            return
        self._audited[caller.name, method] = now
        detail = {"method": method, "why": str(error), "over": "opcua"}
        log.warning("OPC UA method %s: %s", method, error)
        try:
            await committed(
                self._agent.writer,
                self._agent.writer.run(lambda tx: tx.audit("call_refused", detail, actor=caller.name)),
                "the next refusal is audited",
            )
        except StoreError as trouble:
            log.warning("a refused call could not be audited: %s", trouble)


def _misfit(method: Method, given: tuple[ua.Variant, ...]) -> ua.CallMethodResult | None:
    """What is wrong with the arguments; None: nothing."""
    if len(given) > len(method.takes):
        return _ended(StatusCodes.BadTooManyArguments)
    if len(given) < len(method.takes) - method.optional:
        return _ended(StatusCodes.BadArgumentsMissing)
    fits = [_FITS[takes.kind](one.Value) for takes, one in zip(method.takes, given, strict=False)]
    if all(fits):
        return None
    wrong = _ended(StatusCodes.BadInvalidArgument)
    codes = [StatusCodes.Good if one else StatusCodes.BadOutOfRange for one in fits]
    wrong.InputArgumentResults = [ua.StatusCode(ua.UInt32(code)) for code in codes]
    return wrong


def _line(text: str, longest: int, check: Callable[[str], str], name: str) -> str:
    """The text as it may be signed with. Raises ValueError."""
    text = text.strip()
    if not 0 < len(text) <= longest:
        raise ValueError(f"{name} must have 1 to {longest} characters")
    try:
        return check(text)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _refusal(error: GatepostError) -> dict[str, Any]:
    """The same words that the HTTP API answers with."""
    told: dict[str, Any] = {
        "error": next(code for kind, code in _CODES if isinstance(error, kind)),
        "message": str(error),
    }
    if isinstance(error, Conflict):
        told |= {"decided_by": error.by or None, "state": error.state or None, "version": error.version or None}
    return told


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _told(*values: bool | str) -> ua.CallMethodResult:
    kinds = {bool: ua.VariantType.Boolean, str: ua.VariantType.String}
    return ua.CallMethodResult(OutputArguments=[ua.Variant(one, kinds[type(one)]) for one in values])


def _ended(code: int) -> ua.CallMethodResult:
    return ua.CallMethodResult(StatusCode=ua.StatusCode(ua.UInt32(code)))
