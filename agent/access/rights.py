"""What people's roles mean here: ERP module × line × action, up to a value. What is not granted nobody may."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from pydantic import Field

from agent.ports import Kind
from agent.strict.schema import Settings


class Module(StrEnum):
    """The part of the ERP that a posting belongs to."""

    PP = "PP"
    MM = "MM"
    QM = "QM"


class Action(StrEnum):
    """What a role may do: with held postings, with others, and with the whole plant."""

    APPROVE = "approve"
    REFUSE = "refuse"
    CORRECT = "correct"
    READ_SENSITIVE = "read_sensitive"
    REPLAY = "replay"  # dead letters, doubt, quarantine
    REVERSE = "reverse"
    PAUSE = "pause"
    PROMOTE = "promote"  # whatever changes which model decides


_OF_HELD: Final = (Action.APPROVE, Action.REFUSE, Action.CORRECT, Action.READ_SENSITIVE)
_MODULE_OF: Final = {  # others belong to PP
    Kind.GOODS_ISSUE: Module.MM, Kind.SCRAP: Module.MM, Kind.STOCK_TRANSFER: Module.MM, Kind.COUNT_DOCUMENT: Module.MM,
    Kind.COUNT_ENTRY: Module.MM, Kind.COUNT_DIFFERENCE: Module.MM, Kind.DEFECT: Module.QM,
}  # fmt: skip
_MESSAGES: Final = (Kind.NOTIFICATION, Kind.DISPATCH)  # need no right of their own beside what they go with


class Right(Settings):
    """What one role may do."""

    role: str = Field(min_length=1, max_length=128, description="The role, as the identity provider calls it")
    modules: tuple[Module, ...] = Field(
        min_length=1,
        description="`MM`: goods issues, scrap, transfers and counts, `PP`: confirmations, releases and notes of "
        "orders, `QM`: defects; a group needs every one that is in it",
    )
    actions: tuple[Action, ...] = Field(
        min_length=1,
        description="What it may do; `replay`: dead letters, doubtful postings, quarantine; `promote`: choose which "
        "version of a model decides",
    )
    lines: tuple[str, ...] = Field(
        default=(), description="On which lines; none: on all, and what belongs to the whole plant"
    )
    max_value: Decimal | None = Field(
        default=None,
        ge=0,
        description="Largest value that it approves, corrects, reverses or replays, in the plant's currency; none: any",
    )


def module_of(kind: str, payload: Mapping[str, Any]) -> Module:
    """The module of a posting; a reversal is of the module of what it takes back."""
    return _MODULE_OF.get(Kind(payload.get("of_kind", kind) if kind == Kind.REVERSAL else kind), Module.PP)


NOTHING: Final = Decimal(0)


def why_not(
    rights: Sequence[Right],
    roles: Collection[str],
    action: Action,
    module: Module | None,
    line: str | None,
    value: Decimal = NOTHING,
) -> str:
    """Why somebody with these roles may not do it; empty: they may.

    Without a module it is about postings of every kind; without a line about the whole plant, for which no right that
    is limited to lines counts.
    """
    granted = [one for one in rights if one.role in roles and action in one.actions]
    granted = [one for one in granted if module is None or module in one.modules]
    granted = [one for one in granted if not one.lines or line in one.lines]
    held = ", ".join(sorted(roles)) or "none at all"
    if not granted:
        what = f"a posting of {module} " if module else ""
        where = "in the whole plant" if line is None else f"on line {line!r}"
        return f"no role may {action} {what}{where} with the roles that were given: {held}"
    if action is Action.REFUSE or any(one.max_value is None for one in granted):
        return ""
    most = max(one.max_value for one in granted if one.max_value is not None)
    return (
        ""
        if value <= most
        else f"value {value:.2f} is above {most:.2f}, the most that these roles may {action}: {held}"
    )


def with_it(posting: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What is decided together with a posting, as it is shown: those that go with it in its group."""
    group = posting.get("group")
    return [one for one in group["postings"] if one["id"] in group["goes_with_it"]] if group else []


def at_stake(posting: Mapping[str, Any], value: Decimal | None = None) -> Decimal:
    """The money that a decision about this posting is about; `value` instead of its own where it is corrected."""
    own = Decimal(posting["value"]) if value is None else value
    return own + sum((Decimal(one["value"]) for one in with_it(posting)), NOTHING)


def modules_of(posting: Mapping[str, Any]) -> tuple[Module, ...]:
    """The modules of a posting, as it is shown, and of all that goes with it."""
    parts = [one for one in (posting, *with_it(posting)) if one["kind"] not in _MESSAGES] or [posting]
    return tuple(dict.fromkeys(module_of(one["kind"], one["payload"]) for one in parts))


def why_not_this(
    rights: Sequence[Right],
    roles: Collection[str],
    action: Action,
    posting: Mapping[str, Any],
    value: Decimal | None = None,
) -> str:
    """Why they may not do it with this posting and all that goes with it; empty: they may. `value`: see `at_stake`."""
    worth, line = at_stake(posting, value), posting["line"]
    told = (why_not(rights, roles, action, module, line, worth) for module in modules_of(posting))
    return next((why for why in told if why), "")


def allowed(rights: Sequence[Right], roles: Collection[str], posting: Mapping[str, Any]) -> tuple[Action, ...]:
    """Everything that somebody with these roles may do with this posting while it is held."""
    return tuple(action for action in _OF_HELD if not why_not_this(rights, roles, action, posting))
