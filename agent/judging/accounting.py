"""Which G/L account a posting goes to: the table of the plant decides it, a model may only doubt it. Pure.

A posting whose case no rule names, or whose account the model holds for unlikely, waits for a person. Nothing that the
model says changes the account.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from agent.errors import BadPayload, ModelUnfit
from agent.facts import Facts
from agent.features import posting_classification as features
from agent.judging.rules import SecondLook
from agent.masterdata.accounts import Accounts, Case, Rule, disagrees
from agent.ports import Draft, Kind, Proposal
from agent.scores import Classified, Features

ACCOUNT: Final = "account"  # the field of a posting
ACCOUNTED: Final = (Kind.SCRAP,)  # what carries it to the ERP
_DIGITS: Final = 10


class Accounted(NamedTuple):
    """What was found out about the account of one posting, for the record."""

    case: Case
    rule: Rule | None  # None: no rule fits
    look: SecondLook | None = None
    features: Features | None = None  # that the model was asked about
    answer: Classified | ModelUnfit | None = None


def accounted(
    proposal: Proposal, facts: Facts, look: SecondLook | None, sensitive: Collection[str] = ()
) -> tuple[Proposal, Accounted | None]:
    """The proposal with the account of its posting, and held where a person must look at that; None: it needs none.

    `sensitive` are inputs that no model looks at. A group has one posting at most that carries an account.
    """
    at = next((number for number, draft in enumerate(proposal.drafts) if draft.kind in ACCOUNTED), None)
    if facts.accounts is None or at is None:
        return proposal, None
    draft = proposal.drafts[at]
    case, rule = _decided(draft.payload, facts, facts.accounts)
    found = Accounted(case, rule)
    if look is not None:
        found = _looked_over(found, draft, facts, look, sensitive)
    filled = draft._replace(payload={**draft.payload, **_given(rule)})
    holds, reasons = _doubts(found, facts.accounts)
    said = dict(proposal.said)
    if rule is not None and "accountant" in said:
        said["accountant"] += f" {facts.accounts.name} books it on {_where(rule, facts.accounts)}."
    return proposal._replace(
        drafts=(*proposal.drafts[:at], filled, *proposal.drafts[at + 1 :]),
        holds=(*proposal.holds, *holds),
        reasons=(*proposal.reasons, *reasons),
        said=said,
    ), found


def corrected(payload: Mapping[str, Any], changes: Mapping[str, str], facts: Facts) -> dict[str, str]:
    """The account after a correction (`changes`, in `payload` already): the one that a person names, else the table's.

    Raises BadPayload where that is no number, or where no rule fits the corrected cause and nobody names one.
    """
    if ACCOUNT not in payload:  # decided without a table
        return {}
    if ACCOUNT in changes:
        return {ACCOUNT: _number(changes[ACCOUNT])}
    if facts.accounts is None or "cause" not in changes:
        return {}
    case, rule = _decided(payload, facts, facts.accounts)
    if rule is None:
        raise BadPayload(
            f"{facts.accounts.name} has no rule for {case}: name the account, too, as account=NUMBER",
            field=f"changes.{ACCOUNT}",
        )
    return rule.given()


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────


def _decided(payload: Mapping[str, Any], facts: Facts, accounts: Accounts) -> tuple[Case, Rule | None]:
    material = facts.material(str(payload.get("material", "")))
    case = Case.of(payload, material.valuation_class if material else "")
    return case, accounts.find(*case)


def _given(rule: Rule | None) -> dict[str, str]:
    """Empty where no rule fits: that it is there says that a person may name one."""
    return rule.given() if rule is not None else {ACCOUNT: ""}


def _where(rule: Rule, accounts: Accounts) -> str:
    beside = f" and cost centre {rule.cost_center}" if rule.cost_center else ""
    return f"account {accounts.called(rule.account)}{beside}"


def _number(text: str) -> str:
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise BadPayload(f"{text[:40]!r} is no G/L account: write its number", field=f"changes.{ACCOUNT}")
    return text


# ── the model ───────────────────────────────────────────────────────────────────────────────────────────────


def _looked_over(
    found: Accounted, draft: Draft, facts: Facts, look: SecondLook, sensitive: Collection[str]
) -> Accounted:
    """With what the model says of it."""
    payload, case = draft.payload, found.case
    material = facts.materials[payload["material"]]
    if missing := [name for name in ("material_type", "price") if not getattr(material, name)]:
        why = f"{material.material} has no {' and no '.join(missing)} in the master data; add it to materials.csv"
        return found._replace(look=look, answer=ModelUnfit(why))
    told = features.features(
        case.movement,
        case.cost_object,
        material.material_type,
        facts.units.shown(material.base_unit),
        str(payload.get("storage_location", "")),
        material.price,
        Decimal(payload["quantity"]),
    )
    values = {name: None if name in sensitive else value for name, value in told.items()}
    row = look.model.row(values)
    (answer,) = look.model.classify([row])
    if isinstance(answer, Classified):
        answer = answer._replace(unknown=look.model.unknown(values))
    return found._replace(look=look, features=row, answer=answer)


def _doubts(found: Accounted, accounts: Accounts) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Why a person must look at the account, and what speaks for another one."""
    rule, look, answer = found.rule, found.look, found.answer
    likely = f"postings like this went to {_likely(answer, accounts)}" if isinstance(answer, Classified) else ""
    if rule is None:
        todo = "correct the account, or approve it without one: then the ERP finds it"
        return ("; ".join(filter(None, (f"no rule of {accounts.name} fits {found.case}", likely, todo))),), ()
    if look is None:
        return (), ()
    gives = f"{accounts.name} gives account {accounts.called(rule.account)}"
    if not isinstance(answer, Classified):
        return (f"{gives}, which {look.name} has not looked over: {answer}",), ()
    probabilities = dict(zip(answer.classes, answer.probabilities, strict=True))
    if disagrees(rule.account, probabilities, look.least) is None:
        return (), ()
    raised = f", where {100 * look.least:.0f} % are asked for: what it is asked has drifted" if look.raised_from else ""
    share = f"{100 * probabilities[rule.account]:.1f} %"
    return (f"{gives}; {likely} by {answer.model}, which gives the table's {share}{raised}",), look.model.why(answer)


def _likely(answer: Classified, accounts: Accounts) -> str:
    ((account, share),) = answer.top(1)
    return f"{accounts.called(account)}: {100 * share:.0f} %"
