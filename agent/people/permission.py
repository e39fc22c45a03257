"""Whether rights let somebody do an act, whatever it is about; that they tried without is on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from agent.access.callers import Identity, NoRight
from agent.access.rights import NOTHING, Action, Module, Right, at_stake, modules_of, why_not
from agent.people.desk import Desk


@dataclass(frozen=True, slots=True)
class Matter:
    """What an act is about, as rights see it: a posting, a line, or the whole plant (no line)."""

    line: str | None = None
    modules: tuple[Module, ...] = ()  # none: postings of every kind
    value: Decimal = NOTHING
    posting_id: int | None = None

    @classmethod
    def of(cls, posting: Mapping[str, Any]) -> Matter:
        """One posting, as `approvals.show` tells it, and all that goes with it."""
        return cls(posting["line"], modules_of(posting), at_stake(posting), posting["id"])


async def permit(
    desk: Desk, caller: Identity, rights: Sequence[Right], action: Action, matter: Matter, by: str
) -> None:
    """Raises NoRight where rights limit this caller and none of their roles may do it; that is on record.

    They limit whoever has roles, and as soon as there are any everybody who comes through a door of the agent's own.
    """
    if not caller.roles and not (caller.door and rights):
        return
    told = (why_not(rights, caller.roles, action, one, matter.line, matter.value) for one in matter.modules or (None,))
    why = next((one for one in told if one), "")
    if not why:
        return
    detail = {"error": "no_right", "why": why, "decision": action.value, "roles": sorted(caller.roles)}
    what = "signature_refused" if action in (Action.APPROVE, Action.REFUSE) else "act_refused"
    await desk.act(lambda tx: tx.audit(what, detail, actor=by, posting_id=matter.posting_id, alarm=True))
    raise NoRight(f"{caller.name} may not do this: {why}")
