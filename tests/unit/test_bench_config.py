"""The agent's configuration of a bench that stands beside another: its ports, its store, the shipped rest."""

from pathlib import Path

import pytest

from agent.assembly import resolver
from agent.configuration.config import load
from simulators.own_config import at_ports
from simulators.plan import SOURCES, parser, plan_of
from simulators.scenario import load as scenario


@pytest.mark.parametrize("source", SOURCES)
def test_a_shipped_configuration_moves_to_other_ports_and_is_whole(source: str, tmp_path: Path):
    """No usual port is left in it, its store and secrets are the bench's, and it is a configuration that is right."""
    words = ["--source", source, "--first-port", "21000", "--data", str(tmp_path)]
    plan, usual = plan_of(parser("").parse_args(words)), scenario().bench
    assert plan.agent_config is not None
    copy = at_ports(plan.agent_config, plan.data, usual, plan.ports)
    assert copy == tmp_path / "agent.yaml"
    text = copy.read_text(encoding="utf-8")
    assert not [port for port in (usual.broker, usual.erp_http, usual.api, usual.management) if f":{port}" in text]
    config = load(copy, resolver(), {"GATEPOST_SECRET_ERP_PASSWORD": "a secret"})
    assert (config.store.path, config.secrets_dir) == (tmp_path / "gatepost.db", tmp_path / "secrets")
    assert config.api is not None
    assert config.api.address == "127.0.0.1:21002"
    assert at_ports(copy, plan.data, usual, plan.ports) == copy  # what names none of the usual ports stays as it is


def test_what_cannot_be_read_is_left_to_the_agent(tmp_path: Path):
    """It says what is wrong with it."""
    missing = tmp_path / "missing.yaml"
    assert at_ports(missing, tmp_path, scenario().bench, scenario().bench) == missing
