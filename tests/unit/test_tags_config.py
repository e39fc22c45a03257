"""Declared events: what is read from YAML, and what is found wrong before anything runs."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.strict.schema import parse
from agent.tags.config import Tagged

TAGS = "tags: {done: A, order: B, total: C, ack: D, error: E, gross: F, stable: G}\n"
WHOLE = """
events:
  - name: assy05-seal
    topic: plant/1710/ASSY-05/ASSY-05/consumption
    when: {rising: done}
    fields: {order: order}
    counted:
      quantity: {tag: total, modulus: 65536, max_step: 500, factor: "0.001"}
    constants: {material: PT-SEAL-20, unit: PC, operation: 0010, final: true}
    closed_by: [order]
    handshake: {ack: ack, error: error}
"""


def declared(folder: Path, text: str) -> Tagged:
    file = folder / "source.yaml"
    file.write_text(TAGS + text)
    return parse(file, Tagged)


def wrong(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as refusal:
        declared(folder, text)
    return [f"{finding.path}: {finding.message}" for finding in refusal.value.findings]


def one(keys: str) -> str:
    return f"events: [{{name: lot, topic: plant/lot, {keys}}}]"


def test_a_whole_declaration_is_read(tmp_path: Path):
    """Numbers keep their digits, and what looks like a number in a constant stays text."""
    (event,) = declared(tmp_path, WHOLE).events

    assert event.when is not None
    assert event.when.tag == "done"
    assert event.counted["quantity"].factor == Decimal("0.001")
    assert event.constants == {"material": "PT-SEAL-20", "unit": "PC", "operation": "0010", "final": True}
    assert {tag for _, tag in event.reads()} == {"done", "order", "total"}
    assert {tag for _, tag in event.writes()} == {"ack", "error"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("fields: {order: order}", "events[0]: when is missing: say what makes the event"),
        ("when: {}", "events[0].when: names no trigger; name exactly one of rising, falling"),
        ("when: {rising: done, step: total}", "events[0].when: names rising and step; name exactly one"),
        ("handshake: {ack: ack}", "events[0]: handshake has no trigger; say which tag is the request"),
        (
            "when: {change: order}, handshake: {ack: ack}",
            "handshake answers a request, so it needs when: {rising: TAG}",
        ),
        ("when: {counts: {least: 1}}", "events[0]: when.counts has nothing to count; name a totaliser under counted"),
        ("when: {rising: done}, closed_by: [order]", "closed_by reports what was counted, and nothing is"),
        ("when: {rising: doen}", "event lot: when names 'doen', which is not under tags; did you mean 'done'?"),
        (
            "when: {rising: done}, fields: {a: x1}",
            "event lot: fields.a names 'x1', which is not under tags; known: ack",
        ),
        ("when: {rising: done}, handshake: {ack: akc}", "handshake.ack names 'akc', which is not under tags"),
        ("when: {rising: done}, handshake: {ack: done}", "handshake.ack writes 'done', which event lot reads"),
        ("when: {rising: done}, handshake: {ack: ack, error: ack}", "handshake.error writes 'ack', as event lot does"),
        (
            "when: {rising: done}, fields: {seq: order}",
            "JSON field 'seq' is filled by the agent itself, as id, seq, ts",
        ),
        ("when: {rising: done}, fields: {a: order}, constants: {a: x}", "JSON field 'a' is filled 2 times"),
        ("when: {rising: done}, counted: {q: {tag: total}}", "counted.q.max_step: is required: Largest growth"),
        (
            "when: {rising: done}, counted: {q: {tag: total, max_step: 60, modulus: 100}}",
            "max_step 60 is more than half of modulus 100: a rollover and a reset could not be told apart",
        ),
        (
            "when: {rising: done}, counted: {q: {tag: total, max_step: 5, dead_band: 5}}",
            "events[0].counted.q: dead_band 5 must be less than max_step 5",
        ),
        (
            "weighed: {q: {gross: gross, stable: stable, least: 1, gone: 2}}",
            "events[0].weighed.q: gone 2 must be less than least 1",
        ),
        (
            "closed_by: [order], counted: {n: {tag: total, max_step: 1}}, "
            "weighed: {q: {gross: gross, stable: stable, least: 1}}",
            "closed_by and weighed do not go together",
        ),
        ("when: {rising: done}, topic: plant/+/lot", "topic"),
    ],
)
def test_what_makes_no_sense_is_found(tmp_path: Path, keys: str, message: str):
    """Each mistake is named with its event, its key and what to write instead."""
    text = one(keys) if "topic:" not in keys else f"events: [{{name: lot, {keys}}}]"

    assert message in "\n".join(wrong(tmp_path, text))


def test_names_are_used_once(tmp_path: Path):
    """Two events of one name would share their ids, so they are refused."""
    event = "{name: lot, topic: a/b, when: {rising: done}}"

    (message,) = wrong(tmp_path, f"events: [{event}, {event}]")

    assert "event lot is declared 2 times; the name is part of every id" in message


def test_two_events_do_not_write_one_tag(tmp_path: Path):
    """A tag that two handshakes would write is refused."""
    events = ", ".join(
        f"{{name: {name}, topic: a/b, when: {{rising: done}}, handshake: {{ack: ack}}}}" for name in ("a", "b")
    )

    (message,) = wrong(tmp_path, f"events: [{events}]")

    assert "event b: handshake.ack writes 'ack', as event a does; use a tag of its own" in message


def test_all_mistakes_between_events_and_tags_come_at_once(tmp_path: Path):
    """Two unknown tags are two sentences of one run."""
    (message,) = wrong(tmp_path, one("when: {rising: x1}, fields: {order: x2}"))

    assert "'x1'" in message
    assert "'x2'" in message


def test_a_scale_needs_no_trigger(tmp_path: Path):
    """An event that weighs is made by each stable weighing."""
    (event,) = declared(tmp_path, one("weighed: {q: {gross: gross, stable: stable, least: 0.05}}")).events

    assert event.when is None
