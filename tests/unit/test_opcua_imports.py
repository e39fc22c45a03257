"""The OPC UA client is loaded by those who configured it, and by nobody else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CHECK = """
import sys
from agent.cli import gatepost
gatepost(["check", {file!r}], standalone_mode=False)
print(sorted({{"asyncua", "wait_for2", "agent.tags.engine"}} & set(sys.modules)))
"""


def loaded(code: str) -> str:
    environ = {**os.environ, "GATEPOST_SECRET_ERP_PASSWORD": "bench"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    return run.stdout.strip()


def test_a_configuration_with_mqtt_alone_loads_no_opcua():
    """`gatepost check` of the bench's configuration imports neither asyncua nor the tags."""
    assert loaded(CHECK.format(file="edge_config/agent.yaml")).endswith("[]")


@pytest.mark.parametrize(
    "module", ["agent.app", "agent.sources", "agent.sources.opcua_address", "agent.commands.check"]
)
def test_the_agent_itself_loads_no_opcua(module):
    """Neither the app, nor the table of sources, nor the reading of addresses."""
    assert loaded(f"import sys, {module}; print('asyncua' in sys.modules)") == "False"


def test_who_names_it_gets_it():
    """The class behind the kind is loaded when the configuration names it."""
    resolved = "assembly.resolver()('sources', 'opcua')"
    assert loaded(f"import sys; from agent import assembly; {resolved}; print('asyncua' in sys.modules)") == "True"
