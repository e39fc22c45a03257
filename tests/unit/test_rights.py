"""Who may do what by role: the rule itself, and configurations under which nobody could sign."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent import assembly
from agent.access.rights import Action, Module, Right, allowed, module_of, why_not
from agent.configuration import config
from tests.api_bench import write

RIGHTS = (
    Right(role="Supervisor", modules=(Module.MM,), actions=(Action.APPROVE, Action.REFUSE), max_value=Decimal(100)),
    Right(role="Mixing", modules=(Module.MM,), actions=(Action.APPROVE,), lines=("mixing",)),
    Right(role="Planner", modules=(Module.PP,), actions=(Action.APPROVE, Action.CORRECT)),
)


@pytest.mark.parametrize(
    ("roles", "action", "module", "line", "value", "may"),
    [
        (["Supervisor"], Action.APPROVE, Module.MM, "molding", 100, True),
        (["Supervisor"], Action.APPROVE, Module.MM, "molding", "100.01", False),
        (["Supervisor"], Action.REFUSE, Module.MM, "molding", 1000, True),
        (["Supervisor"], Action.CORRECT, Module.MM, "molding", 1, False),
        (["Supervisor"], Action.APPROVE, Module.PP, "molding", 1, False),
        (["Mixing"], Action.APPROVE, Module.MM, "mixing", 1000, True),
        (["Mixing"], Action.APPROVE, Module.MM, "molding", 1, False),
        (["Supervisor", "Mixing"], Action.APPROVE, Module.MM, "mixing", 1000, True),
        (["supervisor"], Action.APPROVE, Module.MM, "mixing", 1, False),
        (["Planner"], Action.APPROVE, Module.QM, "mixing", 1, False),
        ([], Action.APPROVE, Module.MM, "mixing", 1, False),
    ],
)
def test_what_is_not_granted_nobody_may(roles, action, module, line, value, may):
    """Role, module, line, action and value must all fit one right; the largest of several counts."""
    assert bool(why_not(RIGHTS, roles, action, module, line, Decimal(value))) is not may


@pytest.mark.parametrize(
    ("roles", "action", "line", "may"),
    [
        (["Chief"], Action.PAUSE, None, True),
        (["Chief"], Action.PROMOTE, None, True),
        (["Chief"], Action.REPLAY, None, False),
        (["Foreman"], Action.PAUSE, "mixing", True),
        (["Foreman"], Action.PAUSE, "molding", False),
        (["Foreman"], Action.PAUSE, None, False),
        (["Supervisor"], Action.PAUSE, "mixing", False),
    ],
)
def test_the_whole_plant_is_only_theirs_who_have_no_lines(roles, action, line, may):
    """Stopping, and choosing models, are rights as signing is; who is limited to a line stops that line alone."""
    rights = (
        *RIGHTS,
        Right(role="Chief", modules=(Module.PP,), actions=(Action.PAUSE, Action.PROMOTE)),
        Right(role="Foreman", modules=(Module.PP,), actions=(Action.PAUSE,), lines=("mixing",)),
    )
    assert bool(why_not(rights, roles, action, None, line)) is not may
    one = {"id": 1, "kind": "confirmation", "payload": {}, "line": "mixing", "value": "0", "group": None}
    assert set(allowed(rights, roles, one)) <= {Action.APPROVE, Action.CORRECT}


def test_without_any_right_nobody_may_anything():
    """Deny by default."""
    one = {"id": 1, "kind": "goods_issue", "payload": {}, "line": "", "value": "0", "group": None}
    assert allowed((), ["Administrator", "*", ""], one) == ()


def test_a_group_needs_the_right_for_everything_in_it_and_for_its_whole_value():
    """Who may approve scrap for 100 may not approve it together with a transfer for 60, nor with a defect record."""
    parts = [
        {"id": 1, "kind": "scrap", "value": "60", "payload": {}},
        {"id": 2, "kind": "stock_transfer", "value": "60", "payload": {}},
        {"id": 3, "kind": "notification", "value": "0", "payload": {}},
    ]

    def group(*members: dict[str, Any]) -> dict[str, Any]:
        first, *others = members
        shown = {"postings": list(members), "waits_for": None, "goes_with_it": [one["id"] for one in others]}
        return {**first, "line": "molding", "group": shown}

    def may(*members: dict[str, Any]) -> bool:
        return Action.APPROVE in allowed(RIGHTS, ["Supervisor"], group(*members))

    assert may(parts[0], parts[2])
    assert not may(*parts)
    assert not may(parts[0], {"id": 2, "kind": "defect", "value": "0", "payload": {}})


def test_a_reversal_is_of_the_module_of_what_it_takes_back():
    """Goods issues are MM, confirmations PP."""
    assert module_of("goods_issue", {}) is Module.MM
    assert module_of("confirmation", {}) is Module.PP
    assert module_of("reversal", {"of_kind": "goods_issue"}) is Module.MM


def gateway(**changes: Any) -> dict[str, Any]:
    return {"name": "gateway", "sha256": "0" * 64, "scopes": ["gateway"], "signing_secret": {"secret": "s"}, **changes}


RIGHT = {"role": "R", "modules": ["MM"], "actions": ["approve"]}


@pytest.mark.parametrize(
    ("token", "rights", "says"),
    [
        (gateway(), [RIGHT], ""),
        (gateway(), [], "nobody could sign"),
        (
            {key: value for key, value in gateway().items() if key != "signing_secret"},
            [RIGHT],
            "needs a signing_secret",
        ),
        (gateway(scopes=["read"]), [RIGHT], "for the scope gateway only"),
        (gateway(scopes=["gateway", "ingest"]), [RIGHT], ""),
        (gateway(scopes=["gateway", "approve"]), [RIGHT], "approve would let its token decide alone"),
        (gateway(scopes=["admin", "gateway"]), [RIGHT], "admin would let its token decide alone"),
        (gateway(signing_secret={"secret": "short"}), [RIGHT], "fewer than 32 characters"),
        (gateway(signing_secret="written into the file, which nobody may do"), [RIGHT], "in the file itself"),
    ],
)
def test_a_gateway_that_cannot_sign_is_told_before_it_starts(tmp_path: Path, token, rights, says):
    """`check` names the token that lacks a secret, or has a weak one, and says when no role may do anything."""
    path = write(tmp_path, "http://127.0.0.1:1", api={"tokens": [token]}, rights=rights)
    for name, value in (("s", "x" * 32), ("short", "x" * 31)):
        secret = tmp_path / "secrets" / name
        secret.write_text(value)
        secret.chmod(0o600)
    found = config.examine(path, assembly.resolver(), {}).findings
    assert (says in str(found[0])) if says else (found == []), list(map(str, found))
    assert not any("x" * 31 in str(one) for one in found)
