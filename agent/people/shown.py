"""What a person sees of a held posting, and its hash: the record that a signature is bound to.

It holds only what stays while the posting has this version, so that reading it twice gives the same hash.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

import apsw

from agent.access.masking import HASHES, MASK, TELLS, hidden_in, without
from agent.access.rights import module_of, with_it
from agent.facts import Facts
from agent.store import approvals
from agent.store.corrections import correctable
from agent.store.encode import from_us
from agent.workflows.sentences import Words, told

MOST_ALIKE: Final = 5  # postings of the same cause that are shown
LOOKED_AT: Final = 500  # postings of a line, newest first, among which they are looked for
_MADE: Final = ("quantity", "yield", "scrap", "rework")
_NUMBER: Final = re.compile(r"[-+]?\d[\d.,:]*\s?%?")

InErpWords = Callable[[str, str, Mapping[str, Any]], Sequence[tuple[str, str]]]  # target, kind, payload → its words


@dataclass(frozen=True, slots=True)
class Around:
    """What must be known beside the store to write a record."""

    facts: Facts
    words: InErpWords
    sensitive: Collection[str] = ()  # payload fields that are masked


@dataclass(frozen=True, slots=True)
class Record:
    """The record as it is, and as those see it who may not read what is sensitive."""

    content: Mapping[str, Any]
    without: Mapping[str, Any]
    masked: tuple[str, ...]  # fields that are masked in `without`

    def shown(self, *, all_of_it: bool) -> tuple[Mapping[str, Any], str]:
        """What is shown, with its hash."""
        content = self.content if all_of_it else self.without
        return content, hashed(content)

    @property
    def hashes(self) -> tuple[str, str]:
        """Both hashes that a signature may be bound to."""
        return hashed(self.content), hashed(self.without)


def hashed(content: Mapping[str, Any]) -> str:
    """SHA-256 of the compact JSON with sorted keys in UTF-8, as hexadecimal digits."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def record(connection: apsw.Connection, posting: Mapping[str, Any], around: Around) -> Record:
    """The record of one posting (see `approvals.show`)."""
    payload, facts = posting["payload"], around.facts
    unit = facts.units.shown(payload.get("unit", ""))
    decided = _decided(connection, posting["event_id"])
    material = payload.get("material") or _product(payload, facts)
    content = {
        **{name: posting[name] for name in _AS_THEY_ARE},
        "module": module_of(posting["kind"], payload).value,
        "order": payload.get("order", ""),
        "operation": payload.get("operation", ""),
        "material": material,
        "material_text": _text(material, facts),
        "quantity": made(payload),
        "unit": unit,
        "currency": facts.plant.currency,
        "floor": _floor(connection, posting["event_id"], payload, decided, facts),
        "expected": _expected(decided, facts),
        "model": _model(decided),
        "said": said(decided, posting, Words(facts.units, facts.plant.currency)),
        "will_post": _will_post(posting, around),
        "correctable": list(correctable(posting, with_it(posting))),
        "payload": payload,
        "payload_sha256": posting["record_hash"],
    }
    payloads = [payload, *(one["payload"] for one in with_it(posting))]
    masked = tuple(sorted(name for name in around.sensitive if any(one.get(name) for one in (content, *payloads))))
    return Record(content, mask(content, payloads, masked) if masked else content, masked)


def _will_post(posting: Mapping[str, Any], around: Around) -> list[dict[str, str]]:
    """What will be sent in the targets' words, of a group that of all that goes with it, each under its kind."""
    own = around.words(posting["target"], posting["kind"], posting["payload"])
    lines = [{"name": name, "value": value} for name, value in own]
    for one in with_it(posting):
        words = around.words(one["target"], one["kind"], one["payload"])
        told = words or [(name, str(value)) for name, value in one["payload"].items()]
        lines += [{"name": f"{one['kind']} {one['id']}: {name}", "value": value} for name, value in told]
    return lines


_AS_THEY_ARE: Final = (
    "id", "version", "kind", "workflow", "target", "line", "value", "confidence", "reasons",
    "supersedes", "signers", "signed_by",
)  # fmt: skip


def mask(content: Mapping[str, Any], payloads: Sequence[Mapping[str, Any]], fields: Collection[str]) -> dict[str, Any]:
    """The same without the values of these fields, wherever they are repeated: on top, in words, in the ERP's words.

    Nor with a hash over them: whoever knows all the rest would find the missing field by trying. The first payload is
    the posting's own, the others are of what goes with it.
    """
    payload = payloads[0]
    hidden = {str(one[name]) for one in (content, *payloads) for name in fields if one.get(name)}
    names = {*fields, *HASHES, *(told for name in fields for told in TELLS.get(name, ()))}
    long = hidden_in(content, fields)
    return {
        **{name: MASK if name in names and value else value for name, value in content.items()},
        "reasons": [without(one, long) for one in content.get("reasons", ())],
        "model": _without(content.get("model"), long),
        "said": {who: _unless_named(sentence, hidden) for who, sentence in content["said"].items()},
        "payload": masked_payload(payload, fields),
        "will_post": [
            {**one, "value": MASK if one["value"] in hidden else one["value"]} for one in content["will_post"]
        ],
    }


def _without(model: Mapping[str, Any] | None, hidden: Collection[str]) -> dict[str, Any] | None:
    return {**model, "reasons": [without(one, hidden) for one in model["reasons"]]} if model else None


def _unless_named(sentence: str, hidden: Collection[str]) -> str:
    """The sentence, unless something hidden stands in it, in whatever way numbers are written there."""
    forms = {form for one in hidden for form in (one, one.rstrip("0").rstrip(".") if "." in one else one) if form}
    return MASK if any(re.search(rf"(?<!\w){re.escape(form)}(?!\w)", sentence) for form in forms) else sentence


def masked_payload(payload: Mapping[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """A payload without the values of these fields."""
    return {name: MASK if name in fields and value else value for name, value in payload.items()}


def made(payload: Mapping[str, Any]) -> str:
    """The quantity that stands for a posting: what is issued, or the first of yield, scrap and rework."""
    return next((str(payload[name]) for name in _MADE if payload.get(name) not in (None, "", "0")), "")


def value_of(posting: Mapping[str, Any]) -> Decimal:
    """The money at stake."""
    return Decimal(posting["value"])


def _product(payload: Mapping[str, Any], facts: Facts) -> str:
    order = facts.orders.get(payload.get("order", ""))
    return order.material if order else ""


def _text(material: str, facts: Facts) -> str:
    found = facts.materials.get(material)
    return found.text if found else ""


def said(decided: Mapping[str, Any], posting: Mapping[str, Any], words: Words) -> dict[str, str]:
    """Reader → sentence: what the decision recorded, or made now from the posting by the same template."""
    recorded = decided.get("said") if posting.get("supersedes") is None else None
    if recorded:
        return dict(recorded)
    return told(posting["kind"], posting["payload"], value_of(posting), words)


# ── where it comes from ─────────────────────────────────────────────────────────────────────────────────────


def _decided(connection: apsw.Connection, event_id: int | None) -> Mapping[str, Any]:
    """The decision's own record in the trail; empty where it has been archived, or where a person made the posting."""
    row = connection.execute(
        "SELECT detail FROM audit WHERE event_id = ? AND action = 'decided' ORDER BY seq DESC LIMIT 1", (event_id,)
    ).fetchone()
    found: Mapping[str, Any] = json.loads(row[0]) if row else {}
    return found


def _floor(
    connection: apsw.Connection,
    event_id: int | None,
    payload: Mapping[str, Any],
    decided: Mapping[str, Any],
    facts: Facts,
) -> dict[str, Any]:
    """What was reported: by which source, when, how much, and how the plant was just then."""
    row = connection.execute(
        "SELECT source, topic, message_key, received_us FROM event WHERE id = ?", (event_id,)
    ).fetchone()
    source, topic, key, received = row or ("", "", "", None)
    unit = payload.get("floor_unit", payload.get("unit", ""))
    return {
        "source": source,
        "topic": topic,
        "message": (key or "").partition(":")[2],
        "received_at": from_us(received).isoformat() if received is not None else None,
        "quantity": payload.get("floor_quantity") or made(payload),
        "unit": facts.units.shown(unit),
        "live": list(decided.get("live", ())),
    }


def _expected(decided: Mapping[str, Any], facts: Facts) -> dict[str, str] | None:
    found = decided.get("expected")
    return {**found, "unit": facts.units.shown(found["unit"])} if found else None


def _model(decided: Mapping[str, Any]) -> dict[str, Any] | None:
    score = decided.get("score")
    if not score:
        return None
    told = {name: score[name] for name in ("confidence", "reasons")}
    return {"name": score["model"], **told, "said": score.get("said", "")}


# ── what happened before ────────────────────────────────────────────────────────────────────────────────────


def cause(reasons: Sequence[str]) -> str:
    """What a posting is held for, without its figures: the same for the same cause."""
    return _NUMBER.sub("#", reasons[0]) if reasons else ""


def history(connection: apsw.Connection, posting: Mapping[str, Any], facts: Facts) -> list[dict[str, Any]]:
    """Earlier postings of the same line that were held for the same cause, newest first, and what became of them."""
    wanted = cause(posting["reasons"])
    if not wanted:
        return []
    rows = connection.execute(
        f"SELECT {approvals.SHOWN} FROM (SELECT * FROM posting INDEXED BY posting_line WHERE line = ? "  # noqa: S608
        "ORDER BY event_id DESC LIMIT ?) WHERE id < ? AND kind = ? AND reasons <> '[]' ORDER BY id DESC",  # own columns
        (posting["line"], LOOKED_AT, posting["id"], posting["kind"]),
    )
    alike: list[dict[str, Any]] = []
    for row in rows:
        one = approvals.shown(row)
        if cause(one["reasons"]) == wanted:
            alike.append(_before(connection, one, facts))
        if len(alike) == MOST_ALIKE:
            break
    return alike


def _before(connection: apsw.Connection, one: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    row = connection.execute(
        "SELECT actor, json_extract(detail, '$.reason') FROM audit WHERE posting_id = ? AND actor <> 'agent' "
        "ORDER BY seq DESC LIMIT 1",
        (one["id"],),
    ).fetchone()
    by, why = row or (None, None)
    payload = one["payload"]
    return {
        "id": one["id"], "created_at": one["created_at"], "order": payload.get("order", ""),
        "material": payload.get("material") or _product(payload, facts), "quantity": made(payload),
        "unit": facts.units.shown(payload.get("unit", "")), "state": one["state"], "decided_by": by, "why": why,
        "document": one["document"],
    }  # fmt: skip
