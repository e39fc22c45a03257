"""What is shipped: the image, the compose file, the systemd unit, the locks, the alerts and the dashboard agree."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent import __version__, metrics

HOUSE = Path(__file__).resolve().parents[2]
DEPLOY = HOUSE / "edge_config" / "deploy"
ALONE = """
import importlib, pkgutil, sys
from pathlib import Path

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
import agent
for module in pkgutil.walk_packages(agent.__path__, "agent."):
    if module.name != "agent.__main__":
        importlib.import_module(module.name)
from agent.scoring import registry
from agent.scoring.inference import Model
keys = registry.trusted(Path("edge_config/trust/models"))
for name in registry.names(Path("models")):
    Model.load(registry.champion(Path("models") / name), keys).close()
    print(name)
"""
LOCKS = sorted((HOUSE / "requirements").glob("*.txt"))


def lock(path: Path) -> dict[str, str]:
    """Package → version; what another Python or another system would get is left out."""
    entries = re.findall(r"^([a-z0-9.-]+)==(\S+)(?: ; ([^\\]+))?", path.read_text(), re.MULTILINE)
    return {name: version for name, version, marker in entries if not re.search(r">= '3\.12'|win32", marker)}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, arguments), continued lines joined."""
    joined = (HOUSE / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def final_stage() -> dict[str, list[str]]:
    stage: dict[str, list[str]] = {}
    for name, rest in instructions():
        if name == "FROM":
            stage = {}
        stage.setdefault(name, []).append(rest)
    return stage


# ── the image ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_image_runs_as_an_ordinary_user_with_one_data_volume():
    """The image's process is uid 10001, writes to /data alone and starts gatepost."""
    stage = final_stage()
    assert stage["USER"] == ["10001:10001"]
    assert stage["VOLUME"] == ["/data"]
    assert stage["ENTRYPOINT"] == ['["gatepost"]']
    assert "/live" in stage["HEALTHCHECK"][0]
    assert "curl" not in stage["HEALTHCHECK"][0]


def test_the_image_installs_only_pinned_wheels():
    """Whatever the builder fetches has a hash and is a wheel; the project itself fetches nothing."""
    installs = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]
    assert len(installs) == 2
    assert all(option in installs[0] for option in ("--require-hashes", "--only-binary=:all:", "--no-deps"))
    assert "--no-index" in installs[1]


def test_the_image_carries_no_build_tools():
    """Neither stage leaves pip, setuptools or a package manager's work in what runs."""
    stage = final_stage()
    assert not re.search(r"apt-get|gcc|pip install", " ".join(stage["RUN"]))
    assert all(re.search(r"pip uninstall .*setuptools.*pip", rest) for rest in stage["RUN"])
    assert [rest for rest in stage["COPY"] if rest.startswith("--from=build")] == [
        "--from=build /opt/gatepost /opt/gatepost"
    ]


def test_the_builder_is_sent_only_what_it_copies():
    """The build context starts from nothing, so that no data and no secret can slip into an image."""
    lines = [line for line in (HOUSE / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    copied = {Path(part).parts[0] for name, rest in instructions() if name == "COPY" for part in sources(rest)}
    assert {Path(line[1:]).parts[0] for line in lines if line[0] == "!"} == copied


def sources(rest: str) -> list[str]:
    words = rest.split()
    return [] if words[0].startswith("--from") else words[:-1]


# ── beside it ───────────────────────────────────────────────────────────────────────────────────────────────


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_compose_gives_the_agent_no_rights():
    """The agent's container has a read-only root, no capability, no way to gain one, and limits."""
    agent = compose()["services"]["agent"]
    assert agent["read_only"] is True
    assert agent["cap_drop"] == ["ALL"]
    assert "cap_add" not in agent
    assert "privileged" not in agent
    assert agent["security_opt"] == ["no-new-privileges:true"]
    assert agent["user"] == "10001:10001"
    assert "noexec" in agent["tmpfs"][0]
    assert {"mem_limit", "pids_limit", "cpus"} <= agent.keys()
    assert [volume for volume in agent["volumes"] if not volume.endswith(":ro")] == ["gatepost-data:/data"]


def test_compose_names_the_image_by_the_version_of_this_release():
    """Who builds from this source gets an image that says which it is."""
    assert compose()["services"]["agent"]["image"] == f"gatepost:{__version__}"


def test_compose_passes_secrets_as_files_alone():
    """No service has a password in its environment, and every secret is a file."""
    whole = compose()
    for service in whole["services"].values():
        values = {name: value for name, value in service.get("environment", {}).items() if "PASSWORD" in name}
        assert all(name.endswith("_FILE") and value.startswith("/run/secrets/") for name, value in values.items())
    assert all("file" in secret for secret in whole["secrets"].values())
    assert set(whole["services"]["agent"]["secrets"]) <= whole["secrets"].keys()


def test_compose_publishes_on_loopback_alone():
    """Nothing is reachable from the network before somebody decides that it shall be."""
    ports = [port for service in compose()["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "gatepost.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DynamicUser", "yes"),
        ("StateDirectory", "gatepost"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ("RestartPreventExitStatus", "2 4"),
        ("MemoryMax", "512M"),
    ],
)
def test_the_unit_has_the_restrictions_of_the_image(name, value):
    """The service gets no more from systemd than the container gets."""
    assert unit()[name] == [value]


def test_the_unit_passes_the_secrets_of_compose_as_credentials():
    """Every secret the agent gets in compose it gets from systemd, too, and cannot read the folder itself."""
    names = [value.partition(":")[0] for value in unit()["LoadCredential"]]
    assert names == compose()["services"]["agent"]["secrets"]
    assert unit()["InaccessiblePaths"] == ["-/etc/gatepost/secrets"]


def test_the_documentation_of_the_unit_is_what_its_install_steps_copy():
    """What `systemctl help gatepost` opens is a page of this repository, put there by the steps in the unit itself."""
    (named,) = unit()["Documentation"]
    folder, page = "/opt/gatepost/share/doc/gatepost/", named.removeprefix("file://")
    assert (DEPLOY.parents[1] / page.removeprefix(folder)).is_file()
    assert f"sudo cp -r README.md docs {folder}" in (DEPLOY / "gatepost.service").read_text()


def test_the_broker_of_compose_gets_the_prescribed_settings():
    """The broker beside the agent runs the settings that the promise rests on, from the file that explains them."""
    broker = compose()["services"]["mosquitto"]
    assert broker["command"][-1] == "/mosquitto.conf"
    assert "./mosquitto.conf:/mosquitto.conf:ro" in broker["volumes"]
    assert broker["read_only"] is True
    assert broker["cap_drop"] == ["ALL"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_itself_finds_little_exposure():
    """systemd's own judgement of the unit stays below 2 of 10."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(DEPLOY / "gatepost.service")]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Failed to" in judged.stderr or "unrecognized option" in judged.stderr:
        pytest.skip(judged.stderr.strip())
    assert judged.returncode == 0, judged.stdout[-400:]


# ── the locks ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_requirement_is_pinned_with_its_hashes(path):
    """Each line of a lock names one version and carries at least one SHA-256."""
    entries = re.split(r"\n(?=[a-z0-9])", path.read_text().strip())
    assert all(re.match(r"[a-z0-9.-]+==\S+", entry) and "--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_what_is_tested_is_what_runs(path):
    """A package that appears in several locks has the same version in all of them."""
    runtime, other = lock(HOUSE / "requirements" / "runtime.txt"), lock(path)
    assert {name: other[name] for name in runtime.keys() & other.keys()} == {
        name: runtime[name] for name in runtime.keys() & other.keys()
    }


def test_every_direct_requirement_is_locked():
    """What somebody adds to a list of requirements is in its lock, too."""
    for path in LOCKS:
        wanted = re.findall(r"^([A-Za-z][\w-]*)", path.with_suffix(".in").read_text(), re.MULTILINE)
        assert {name.lower() for name in wanted} <= lock(path).keys()


def test_every_runtime_package_has_a_wheel_for_both_platforms():
    """The page of platforms lists exactly the locked packages, each with a wheel for x86-64 and for ARM."""
    page = (HOUSE / "docs" / "platforms.md").read_text()
    rows = re.findall(r"^\| ([a-z0-9.-]+) \| (\S+) \| (\S+) \| (\S+) \|$", page, re.MULTILINE)[1:]
    assert {name: version for name, version, _, _ in rows} == lock(HOUSE / "requirements" / "runtime.txt")
    fits = re.compile(r"any|cp3\d+-(cp311|abi3|none)-manylinux\w+|py3-none-manylinux\w+")
    assert all(fits.fullmatch(x86) and fits.fullmatch(arm) for _, _, x86, arm in rows)


def test_the_agent_runs_its_models_with_the_locked_packages_alone():
    """Every module is imported and every model loaded where nothing else is installed: no scikit-learn, no pandas."""
    locked = {_plain(name) for name in lock(HOUSE / "requirements" / "runtime.txt")} | {"gatepost"}
    others = [name for name, owners in packages_distributions().items() if locked.isdisjoint(map(_plain, owners))]
    assert {"sklearn", "scipy", "skl2onnx", "onnx"} <= set(others)
    run = subprocess.run([sys.executable, "-c", ALONE, *others], cwd=HOUSE, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == sorted(path.parent.name for path in (HOUSE / "models").glob("*/aliases.json"))


def test_the_agent_reads_no_format_that_runs_code():
    """Nothing in the agent unpickles: what it reads is JSON, YAML, protobuf and SQLite."""
    unpickling = re.compile(r"^\s*(?:import|from)\s+(pickle|shelve|marshal|dill|joblib|cloudpickle)\b", re.MULTILINE)
    assert [path for path in (HOUSE / "agent").rglob("*.py") if unpickling.search(path.read_text())] == []


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# ── alerts and dashboard ────────────────────────────────────────────────────────────────────────────────────


def exposed() -> set[str]:
    names = {"gatepost_process_resident_memory_bytes"}
    for family in metrics.collect(metrics.Snapshot()):
        if family.type == "histogram":
            names |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
        else:
            names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return names


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_watches_something_that_exists_and_says_what_to_do(rule):
    """An alert on a metric that nobody exposes would never ring; one without an action helps nobody."""
    used = set(re.findall(r"\bgatepost_\w+", rule["expr"]))
    assert used
    assert used <= exposed()
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "action"}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_names_only_labels_its_expression_keeps(rule):
    """What the summary names is still a label after the aggregation."""
    kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"]))))
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert named <= kept


def test_the_dashboard_shows_only_what_exists():
    """Every query of the dashboard uses metrics the agent exposes, every panel has a place of its own."""
    dashboard = json.loads((DEPLOY / "grafana" / "gatepost.json").read_text())
    panels = dashboard["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    used = {name for query in queries for name in re.findall(r"\bgatepost_\w+", query)}
    assert len(queries) > 25
    assert used <= exposed()
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


# ── the entry points ────────────────────────────────────────────────────────────────────────────────────────


def test_make_alone_lists_every_target_a_person_runs():
    """`make` without a target explains each of them in one line and starts nothing."""
    shown = subprocess.run(["make", "-C", HOUSE, "--no-print-directory"], capture_output=True, text=True, check=True)
    targets = set(re.findall(r"make ([a-z0-9]+)", shown.stdout))
    assert {"help", "setup", "run", "test", "check", "bench", "e2e", "soak", "models", "docs", "clean"} <= targets


@pytest.mark.parametrize("name", ["run", "need"])
def test_the_scripts_of_continuous_integration_can_be_run(name):
    """Both scripts are executable, are read by bash without a complaint, and stop at the first error."""
    path = HOUSE / ".ci" / name
    assert path.stat().st_mode & stat.S_IXUSR
    assert "set -euo pipefail" in path.read_text()
    subprocess.run(["bash", "-n", path], check=True)


def test_the_command_and_the_version_come_from_one_place():
    """The package's version is the agent's own, and `gatepost` is its command line."""
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"gatepost": "agent.cli:main"}
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "agent.__version__"}
    assert (HOUSE / "LICENSE").read_text().lstrip().startswith("Apache License")
