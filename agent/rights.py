"""What people's roles mean here: ERP module × line × action, up to a value. What is not granted nobody may."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from pydantic import Field

from agent.ports import Kind
from agent.schema import Settings


class Module(StrEnum):
    """The part of the ERP that a posting belongs to."""

    PP = "PP"
    MM = "MM"
    QM = "QM"


class Action(StrEnum):
    """What a role may do with held postings."""

    APPROVE = "approve"
    REFUSE = "refuse"
    CORRECT = "correct"
    READ_SENSITIVE = "read_sensitive"


_MODULE_OF: Final = {Kind.GOODS_ISSUE: Module.MM, Kind.CONFIRMATION: Module.PP}


class Right(Settings):
    """What one role may do."""

    role: str = Field(min_length=1, max_length=128, description="The role, as the identity provider calls it")
    modules: tuple[Module, ...] = Field(
        min_length=1, description="`MM`: goods issues, `PP`: confirmations, `QM`: none of these"
    )
    actions: tuple[Action, ...] = Field(min_length=1, description="What it may do")
    lines: tuple[str, ...] = Field(default=(), description="On which lines; none: on all")
    max_value: Decimal | None = Field(
        default=None, ge=0, description="Largest value that it approves or corrects, in the plant's currency; none: any"
    )


def module_of(kind: str, payload: Mapping[str, Any]) -> Module:
    """The module of a posting; a reversal is of the module of what it takes back."""
    return _MODULE_OF.get(Kind(payload.get("of_kind", kind) if kind == Kind.REVERSAL else kind), Module.PP)


def why_not(
    rights: Sequence[Right], roles: Collection[str], action: Action, module: Module, line: str, value: Decimal
) -> str:
    """Why somebody with these roles may not do it; empty: they may."""
    granted = [one for one in rights if one.role in roles and action in one.actions and module in one.modules]
    granted = [one for one in granted if not one.lines or line in one.lines]
    held = ", ".join(sorted(roles)) or "none at all"
    if not granted:
        return f"no role may {action} a posting of {module} on line {line!r} with the roles that were given: {held}"
    if action is Action.REFUSE or any(one.max_value is None for one in granted):
        return ""
    most = max(one.max_value for one in granted if one.max_value is not None)
    return (
        ""
        if value <= most
        else f"value {value:.2f} is above {most:.2f}, the most that these roles may {action}: {held}"
    )


def allowed(
    rights: Sequence[Right], roles: Collection[str], module: Module, line: str, value: Decimal
) -> tuple[Action, ...]:
    """Everything that somebody with these roles may do with such a posting."""
    return tuple(action for action in Action if not why_not(rights, roles, action, module, line, value))
