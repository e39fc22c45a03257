"""What the bench adds to a configuration, so that its gateway may sign for its people."""

from pathlib import Path

import pytest

from agent import assembly
from agent.configuration import config
from simulators.people import PEOPLE, RIGHTS, Keys, with_gateway

EDGE = Path(__file__).parents[2] / "edge_config"


@pytest.mark.parametrize("name", ["agent", "sparkplug", "opcua"])
def test_a_shipped_configuration_learns_the_gateway_and_stays_what_it_was(name, tmp_path):
    """The copy is whole wherever it lies: all files are found, and only token and rights are new."""
    keys = Keys.new()
    copy = with_gateway(EDGE / f"{name}.yaml", tmp_path, keys.token)
    assert copy is not None
    secrets = {"GATEPOST_SECRET_ERP_PASSWORD": "plant-only", "GATEPOST_SECRET_GATEWAY_SIGNING": keys.signing}
    was, now = (config.load(path, assembly.resolver(), secrets) for path in (EDGE / f"{name}.yaml", copy))
    assert now.api is not None
    assert [token.name for token in now.api.tokens] == ["bench-gateway"]
    assert {right.role for right in now.rights} == {person.role for person in PEOPLE.values()}
    assert (now.sources, now.targets, now.authority) == (was.sources, was.targets, was.authority)
    assert now.mappings == was.mappings.resolve()


@pytest.mark.parametrize("own", ["rights: []\n", "api:\n  tokens: []\n"])
def test_a_configuration_with_tokens_or_rights_of_its_own_stays_as_it_is(own, tmp_path):
    """Nobody's rights are mixed with those of the bench."""
    (tmp_path / "own.yaml").write_text(f"{own}api:\n  address: 127.0.0.1:1\n")
    assert with_gateway(tmp_path / "own.yaml", tmp_path / "nowhere", "token") is None


def test_every_role_of_the_bench_means_something():
    """A person without a right could only be refused."""
    assert {right["role"] for right in RIGHTS} == {person.role for person in PEOPLE.values()}


def test_keys_are_kept_from_other_users(tmp_path):
    """Files that only this user can read."""
    files = Keys.new().write(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
