"""How a Sparkplug source is configured: what is refused with which sentence, and what is not loaded without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.sources.sparkplug_config import SparkplugConfig
from tests.sparkplug_bench import COUNTING, TAGS


def config(**changes: Any) -> SparkplugConfig:
    settings = {
        "name": "line",
        "client_id": "gatepost-1",
        "brokers": ("mqtt://broker:1883",),
        "tags": TAGS,
        "events": (COUNTING,),
    }
    return SparkplugConfig.model_validate({**settings, **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tags": {**TAGS, "x": "Total"}}, "x: 'Total' is no Sparkplug address; write GROUP/NODE:METRIC"),
        ({"tags": {**TAGS, "x": "STATE/N:y"}}, "STATE is no group"),
        ({"tags": {}, "events": ()}, "tags names nothing to read"),
        ({"host_id": "a/b"}, "'a/b' is no host id"),
        ({"host_id": "#"}, "'#' is no host id"),
        ({"brokers": ("mqtts://b:8883",)}, "needs ca_file"),
        ({"brokers": ("tcp://b:1883",)}, "is no broker; write mqtt://"),
        ({"tags": {"done": TAGS["done"]}}, "which is not under tags"),
        ({"password": None, "cert_file": Path("a.pem")}, "cert_file and key_file belong together"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], sentence: str):
    """The sentence names the value and what to write."""
    with pytest.raises(ValidationError) as refused:
        config(**changes)
    assert sentence in str(refused.value)


def test_only_the_nodes_that_are_read_are_subscribed_to():
    """One filter per node with its devices, and our own STATE."""
    assert config(host_id="h").connection().topics == ("spBv1.0/G/+/N/#", "spBv1.0/STATE/h")
    assert config().connection().topics == ("spBv1.0/G/+/N/#",)


@pytest.mark.parametrize(("version", "options"), [("5", {"clean_start": True}), ("3.1.1", {})])
def test_the_session_is_clean(version: str, options: dict[str, Any]):
    """As the specification wants it of host applications."""
    assert config(version=version).connection().connect_options() == options


def test_without_such_a_source_neither_sparkplug_nor_protobuf_is_loaded():
    """An agent that speaks MQTT only does not pay for it."""
    code = (
        "import sys, agent.app; from agent import assembly; assembly.resolver()('sources', 'mqtt'); "
        "heavy = 'agent.sparkplug', 'agent.tags.config', 'agent.tags.engine', 'google.protobuf'; "
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
