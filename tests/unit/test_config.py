"""The configuration as a whole: what it becomes, what is refused between its parts, what may change while it runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from agent.access.tokens import Scope
from agent.configuration.config import (
    Config,
    Secret,
    SecretPlaces,
    Settings,
    examine,
    live_without_identity,
    load,
    parse,
    resolver_of,
)
from agent.configuration.crosschecks import overlap
from agent.configuration.reload import fixed, needs_restart, refuse_while_open
from agent.configuration.settings import AuthorityMode, DatePolicy, PostingMode
from agent.erp import TARGETS
from agent.errors import ConfigError, Finding, NotFound
from agent.ports import Kind
from agent.shares import Shares
from agent.sources import SOURCES
from agent.workflows import WORKFLOWS

HOUSE = Path(__file__).resolve().parent.parent.parent


class Auth(Settings):
    """A user with a password."""

    user: str
    password: Secret


class Mqtt(Settings):
    """A source with keys of its own."""

    brokers: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    ca_file: Path | None = None


class Orders(Settings):
    """A source that names a target."""

    target: str


class Sap(Settings):
    """A target with a nested model."""

    base_url: str
    auth: Auth | None = None
    stamp: str = "ReferenceDocument"
    timeout_s: int = Field(default=60, ge=1)

    def switched_off(self) -> Mapping[Kind, str]:
        return {Kind.DEFECT: "name its defect_service"}


class Flow(Settings):
    """Options of a workflow."""

    backflush: bool = False
    issues: Shares = ()


KINDS: dict[str, dict[str, type[BaseModel]]] = {
    "sources": {"mqtt": Mqtt, "erp_orders": Orders},
    "targets": {"sap_s4": Sap},
    "workflows": {"consumption": Flow, "confirmation": Flow, "backflush": Flow},
}


def resolve(part: str, kind: str) -> type[BaseModel]:
    if kind not in KINDS[part]:
        raise NotFound(f"unknown kind; known: {', '.join(KINDS[part])}")
    return KINDS[part][kind]


TEXT = """\
plant: {site: "1710", time_zone: Europe/Berlin, currency: EUR}
store: {path: data/gatepost.db}
sources:
  - name: line
    kind: mqtt
    brokers: ["mqtt://127.0.0.1:1883"]
    topics: [plant/+/consumption]
    ca_file: tls/ca.pem
targets:
  - name: s4
    kind: sap_s4
    base_url: https://s4.example
    auth: {user: GATEPOST, password: {secret: erp_password}}
    postings: {goods_issue: live, confirmation: dry-run}
workflows:
  weighing:
    kind: consumption
    target: s4
    mapping: weights
  confirmation:
    target: s4
    options:
      backflush: true
authority:
  weighing: {mode: auto, min_confidence: 0.95, max_value: 1500.50, max_quantity: {KGM: 25}}
api:
  address: 127.0.0.1:18080
  tokens:
    - {name: hmi, sha256: SHA, scopes: [read, approve], lines: [mixing]}
""".replace("SHA", hashlib.sha256(b"token").hexdigest())
ENVIRON = {"GATEPOST_SECRET_ERP_PASSWORD": "canary"}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writing(*changes: tuple[str, str]) -> Path:
        text = TEXT
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / "agent.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return writing


def read(path: Path) -> Config:
    return load(path, resolve, ENVIRON)


def findings(path: Path) -> list[Finding]:
    with pytest.raises(ConfigError) as caught:
        read(path)
    return list(caught.value.findings)


def test_a_file_becomes_typed_and_frozen(write):
    """Values have the types of their fields, plug-ins the models of their kinds, and nothing can be changed."""
    config = read(write())
    assert config.sources[0].settings == Mqtt(
        brokers=("mqtt://127.0.0.1:1883",), topics=("plant/+/consumption",), ca_file=config.file.parent / "tls/ca.pem"
    )
    postings = config.target("s4").postings
    assert [postings.mode(kind) for kind in Kind][:3] == [PostingMode.LIVE, PostingMode.DRY_RUN, PostingMode.OFF]
    assert (config.workflows["weighing"].kind, config.workflows["weighing"].mapping) == ("consumption", "weights")
    assert (config.workflows["confirmation"].kind, config.workflows["confirmation"].mapping) == ("confirmation",) * 2
    assert config.authority_of("weighing").max_value == Decimal("1500.50")
    assert config.api is not None
    assert config.api.tokens[0].scopes == (Scope.READ, Scope.APPROVE)
    with pytest.raises(ValueError, match="frozen"):
        config.plant.site = "1720"


def test_defaults_are_the_careful_ones(write):
    """What is not configured advises only, posts nothing and asks a person about closed periods."""
    config = read(write())
    assert config.authority_of("confirmation").mode is AuthorityMode.ADVISE
    assert config.target("s4").postings.reversal is PostingMode.OFF
    assert config.posting_date.policy is DatePolicy.HOLD
    assert config.management is None


def test_what_is_switched_on_is_taken_by_its_target(write):
    """A posting that its target cannot take is named with its line and the remedy; switched off it is none of it."""
    (found,) = findings(write(("confirmation: dry-run}", "confirmation: dry-run, defect: live, scrap: live}")))
    assert found.path == "targets[0].postings.defect"
    assert "name its defect_service, or switch it off" in found.message
    assert read(write(("confirmation: dry-run}", "confirmation: dry-run, defect: 'off'}")))


def test_paths_are_relative_to_the_file(write, tmp_path):
    """Wherever the agent is started from, defaults and plug-ins' paths included."""
    config = read(write())
    assert config.store.path == tmp_path / "data" / "gatepost.db"
    assert config.store.archive == tmp_path / "data" / "archive"
    assert config.mappings == tmp_path / "mappings"


def test_the_environment_moves_the_data_folder_and_nothing_else(write):
    """GATEPOST_DATA replaces the folder of store.path; other values are never substituted."""
    path = write(('"1710"', '"${HOME}"'))
    config = load(path, resolve, {**ENVIRON, "GATEPOST_DATA": "/data"})
    assert config.store.path == Path("/data/gatepost.db")
    assert config.store.archive == Path("/data/archive")
    assert config.plant.site == "${HOME}"


def test_a_secret_is_never_shown(write):
    """Neither as text nor in JSON, nor in a repr of anything that holds it; only `reveal` does."""
    config = read(write())
    settings = config.targets[0].settings
    assert isinstance(settings, Sap)
    assert settings.auth is not None
    secret = settings.auth.password
    assert secret.reveal() == "canary"
    shown = [repr(config), str(config), config.model_dump_json(), f"{secret} {secret!r}", str(config.model_dump())]
    assert "canary" not in " ".join(shown)
    assert json.loads(config.model_dump_json())["targets"][0]["settings"]["auth"]["password"] == {
        "secret": "erp_password"
    }


def test_secrets_are_looked_up_in_their_order(tmp_path):
    """systemd's credentials come before the configured folder, and the environment last."""
    folders = [tmp_path / "systemd", tmp_path / "configured"]
    places = SecretPlaces.of(
        {"CREDENTIALS_DIRECTORY": str(folders[0]), "GATEPOST_SECRET_DB_KEY": "environ"}, folders[1]
    )
    assert places.folders == (folders[0], Path("/run/secrets"), folders[1])
    assert places.find("db-key").reveal() == "environ"
    for folder in reversed(folders):
        folder.mkdir()
        (folder / "db-key").write_text(folder.name)
        (folder / "db-key").chmod(0o400)
        assert places.find("db-key").reveal() == folder.name


@pytest.mark.parametrize("value", ["", "\n", "abc", "abc\r\n"])
def test_a_secret_is_long_enough_to_be_masked(value):
    """Empty, or so short that every log line would be stars: refused, without saying what it was."""
    with pytest.raises(ValueError, match=r"GATEPOST_SECRET_DB_KEY (is empty|holds fewer than 4 characters)") as refused:
        SecretPlaces.of({"GATEPOST_SECRET_DB_KEY": value}).find("db-key")
    assert "abc" not in str(refused.value)


@pytest.mark.parametrize("name", ["../shadow", "/etc/shadow", "", ".hidden", "a b", "x" * 65])
def test_a_secret_has_a_name_not_a_path(name):
    """No name leads out of the folder of secrets."""
    with pytest.raises(ValueError, match="is no name for a secret"):
        SecretPlaces.of({}).find(name)


def test_all_errors_come_at_once(write):
    """Errors of sections, plug-ins, nested models and between parts are one list, in the order of the file."""
    path = write(
        ("currency: EUR", "currency: Euro"),
        ("kind: mqtt", "kind: mqqt"),
        ("base_url: https", "timeout_s: 0\n    baseurl: https"),
        ("{secret: erp_password}", "{secret: other}"),
        ("confirmation: dry-run", "confirmation: dryrun"),
        ("    mapping: weights\n", "    mapping: weights\n    modell: x\n"),
        ("    target: s4\n    options", "    target: s5\n    options"),
        ("  weighing: {mode: auto", "  wieghing: {mode: automatic"),
        ("[read, approve]", "[read, root]"),
    )
    assert [(finding.line, finding.path) for finding in findings(path)] == [
        (1, "plant.currency"),
        (5, "sources[0].kind"),
        (10, "targets[0].base_url"),
        (12, "targets[0].timeout_s"),
        (13, "targets[0].baseurl"),
        (14, "targets[0].auth.password"),
        (15, "targets[0].postings.confirmation"),
        (21, "workflows.weighing.modell"),
        (23, "workflows.confirmation.target"),
        (27, "authority.wieghing.mode"),
        (27, "authority.wieghing"),
        (31, "api.tokens[0].scopes[1]"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("store:", "stor: {}\nstore:", "did you mean 'store'?"),
        ("sources:", "source: []\nsources:", "did you mean 'sources'?"),
        ("    topics:", "    topcs: []\n    topics:", "did you mean 'topics'?"),
        ("    topics:", "    nmae: x\n    topics:", "did you mean 'name'?"),
        ("{user: GATEPOST,", "{user: GATEPOST, usr: x,", "did you mean 'user'?"),
        ("    options:", "    option: {}\n    options:", "did you mean 'options'?"),
        ("site:", "zzz: 1, site:", "known: currency, site, time_zone"),
        ("kind: mqtt", "kind: opc", "known: mqtt, erp_orders"),
        ("    target: s4\n    mapping", "    target: S4\n    mapping", "did you mean 's4'?"),
    ],
)
def test_a_mistyped_word_gets_a_hint(write, old, new, said):
    """The finding names the word that was probably meant, or all that are known."""
    assert said in "\n".join(map(str, findings(write((old, new)))))


def test_a_required_key_says_what_it_is_for(write):
    """The finding stands at the section and carries the key's description."""
    (finding,) = findings(write(('site: "1710", ', "")))
    assert str(finding).startswith(f"{finding.file}:1: plant.site: is required: The plant as the ERP calls it")


@pytest.mark.parametrize("part", ["sources", "targets", "workflows"])
@pytest.mark.parametrize("written", ["", " []", " {}", " text"])
def test_every_part_has_something_in_it(write, part, written):
    """An agent without a source, a target or a workflow is a mistake."""
    path = write((f"\n{part}:\n", f"\n{part}:{written}\nlog:\n"))
    assert f"{part}: name at least one" in "\n".join(map(str, findings(path)))


def test_names_are_unique(write):
    """The second one of a name is the finding and names the line of the first."""
    twice = "  - name: s4\n    kind: sap_s4\n    base_url: https://other.example\nworkflows:"
    (finding,) = findings(write(("workflows:", twice)))
    assert (finding.line, finding.path) == (15, "targets[1].name")
    assert "line 10" in finding.message


def test_consuming_twice_is_refused(write):
    """Live goods issues beside live confirmations that backflush are refused at the option that makes them."""
    (finding,) = findings(write(("confirmation: dry-run", "confirmation: live")))
    assert (finding.line, finding.path) == (23, "workflows.confirmation.options.backflush")
    assert "would consume twice" in finding.message


def test_issues_ahead_beside_another_workflow_that_consumes_are_refused(write):
    """Backflush that writes stands neither beside consumption that writes nor beside confirmations that backflush."""
    backflush = ("  confirmation:\n", "  ahead: {kind: backflush, target: s4, mapping: made}\n  confirmation:\n")
    assist = ("authority:\n", "authority:\n  ahead: {mode: assist}\n")
    (finding,) = findings(write(backflush, assist))
    assert finding.path == "workflows.ahead"
    assert "would consume twice: workflow 'weighing' posts goods issues of everything live, and so does this one" in (
        finding.message
    )
    confirming = ("confirmation: dry-run", "confirmation: live")
    shown = ("weighing: {mode: auto", "weighing: {mode: advise")
    (finding,) = findings(write(backflush, assist, confirming, shown))
    assert finding.path == "workflows.confirmation.options.backflush"


def test_two_workflows_that_issue_different_things_stand_beside_each_other(write):
    """By work centre and material; what both would issue is named."""

    def shared(weighing: str, ahead: str) -> tuple[tuple[str, str], ...]:
        flow = f"  ahead: {{kind: backflush, target: s4, mapping: made, options: {{issues: [{ahead}]}}}}\n"
        return (
            ("  confirmation:\n", f"{flow}  confirmation:\n"),
            ("authority:\n", "authority:\n  ahead: {mode: assist}\n"),
            ("mapping: weights\n", f"mapping: weights\n    options: {{issues: [{weighing}]}}\n"),
        )

    assert read(write(*shared("{material: RM-RESIN}", "{material: RM-PIGMENT}"))).workflows.keys() >= {"ahead"}
    assert read(write(*shared("{work_center: MIX-01}", "{work_center: MIX-02, material: A}"))).workflows
    (finding,) = findings(write(*shared("{work_center: MIX-01}", "{material: RM-RESIN}")))
    assert finding.path == "workflows.ahead.options.issues"
    assert "goods issues of RM-RESIN at MIX-01 live" in finding.message


def test_issues_ahead_may_be_shown_beside_what_consumes(write):
    """A parallel run: under `advise` nothing is written, so nothing is consumed twice."""
    ahead = ("  confirmation:\n", "  ahead: {kind: backflush, target: s4, mapping: made}\n  confirmation:\n")
    assert read(write(ahead)).workflows["ahead"].kind == "backflush"


@pytest.mark.parametrize(
    "change",
    [
        ("confirmation: dry-run", "confirmation: off"),
        ("goods_issue: live, confirmation: dry-run", "goods_issue: dry-run, confirmation: live"),
        ("confirmation: dry-run}", "confirmation: live}\n    # backflush: see below"),
    ],
)
def test_only_the_pair_is_refused(write, change):
    """Each alone is fine."""
    changes = [change] if "see below" not in change[1] else [change, ("backflush: true", "backflush: false")]
    assert read(write(*changes)).workflows.keys() == {"weighing", "confirmation"}


def test_a_source_names_a_target_that_exists(write):
    """A source of orders that asks an unknown ERP is refused."""
    (finding,) = findings(write(("targets:", "  - {name: orders, kind: erp_orders, target: ecc}\ntargets:")))
    assert (finding.path, finding.value) == ("sources[1].target", "ecc")


@pytest.mark.parametrize(("target", "told"), [("s5", "there is no such target"), ("s4", "notification is off at s4")])
def test_shortages_are_told_by_a_target_that_tells(write, target, told):
    """Else nobody would hear of them."""
    shortages = f"shortages:\n  notify: {{target: {target}, to: [planner]}}\ntargets:"
    (finding,) = findings(write(("targets:", shortages)))
    assert (finding.path, told in str(finding)) == ("shortages.notify.target", True)


@pytest.mark.parametrize(
    ("rule", "at", "told"),
    [
        ("stuck_to: [planner]", "stuck_to", "name a target for notify under workflows.weighing.targets"),
        ("escalate_to: [planner], escalate_hours: 8", "escalate_to", "name a target for notify"),
        ("escalate_to: [planner], expire_hours: 8", "escalate_to", "name a target for notify"),
        ("escalate_to: [planner]", "escalate_to", "say after how many hours, with escalate_hours or expire_hours"),
    ],
)
def test_whom_a_rule_tells_can_be_told(write, rule, at, told):
    """By a target of the workflow, and at a time that is said."""
    found = findings(write(("weighing: {mode: auto", f"weighing: {{{rule}, mode: auto")))
    assert {one.path for one in found} == {f"authority.weighing.{at}"}
    assert any(told in one.message for one in found)


def test_nobody_shares_a_token(write):
    """Two names with one hash are refused at the second; the hash is not repeated."""
    one = next(line for line in write().read_text().splitlines() if "sha256" in line)
    other = one.replace("name: ", "name: x")
    (finding,) = findings(write((one, f"{one}\n{other}")))
    assert (finding.path, finding.value) == ("api.tokens[1].sha256", "")


def test_live_needs_an_identity(write):
    """A message kind without an identity of its own is not posted live; dry-run is."""
    config = read(write())
    (finding,) = live_without_identity(config, {"weights", "confirmation"})
    assert (finding.line, finding.path) == (19, "workflows.weighing.mapping")
    assert list(live_without_identity(config, {"confirmation"})) == []


def test_named_folders_exist(write):
    """A mistyped folder is not an empty one."""
    (finding,) = findings(write(("targets:", "mappings: maps\ntargets:")))
    assert finding.message == "there is no such folder"


def test_further_checks_join_the_list(write):
    """Mappings, master data and models add their findings to the same list."""

    def further(config: Config) -> list[Finding]:
        node = config.tree.get("workflows", "weighing", "mapping")
        assert node is not None
        return [node.finding("there is no such mapping")]

    examined = examine(write(), resolve, ENVIRON, [further])
    assert [str(finding).partition(": ")[2] for finding in examined.findings] == [
        "workflows.weighing.mapping: there is no such mapping (weights)"
    ]
    with pytest.raises(ConfigError, match="no such mapping"):
        load(write(), resolve, ENVIRON, [further])


def test_the_version_covers_every_file(write, tmp_path):
    """Any change of the file, a mapping, the units, master data or a model makes a new version; nothing else does."""
    for folder in ("mappings", "masterdata", "models"):
        (tmp_path / folder).mkdir()
    versions = [read(write()).version]
    for name in ("mappings/a.yaml", "masterdata/orders.csv", "units.yaml", "models/m.onnx", "models/card.yaml"):
        (tmp_path / name).write_text("x")
        versions.append(read(write()).version)
    versions.append(read(write(("currency: EUR", "currency: USD"))).version)
    assert len(set(versions)) == len(versions)
    assert all(len(version) == 12 for version in versions)
    (tmp_path / "models" / "notes.txt").write_text("x")
    assert read(write(("currency: EUR", "currency: USD"))).version == versions[-1]


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("base_url: https://s4", "base_url: https://s5", "targets s4.base_url"),
        ("    postings:", "    stamp: Header\n    postings:", "targets s4.stamp"),
        ("name: s4", "name: s5", "targets s4"),
        ("name: line", "name: row", "sources line"),
        ("mapping: weights", "mapping: scales", "workflows.weighing.mapping"),
        ("mapping: weights", "mapping: [weights, scales]", "workflows.weighing.mapping"),
        ('"1710"', '"1720"', "plant.site"),
    ],
)
def test_what_open_postings_rest_on_does_not_change(write, old, new, path):
    """Changes to a target, a stamp or what keys are made of are named with their line in the new file."""
    before = read(write())
    after = read(write((old, new), *([("target: s4", "target: s5")] if path == "targets s4" else [])))
    refused = refuse_while_open(fixed(before), after)
    assert path in [finding.path for finding in refused]
    assert all(finding.line > 0 and "while events or postings are open" in finding.message for finding in refused)
    for config in (before, after):
        assert refuse_while_open(json.loads(json.dumps(fixed(config))), config) == []  # as a start reads it


@pytest.mark.parametrize(
    ("old", "new", "paths"),
    [
        ("base_url: https://s4", "base_url: https://s5", ["targets s4"]),
        ("data/gatepost.db", "data/other.db", ["store"]),
        ("name: line", "name: row", ["sources line", "sources row"]),
        ("    postings: {goods_issue: live", "    postings: {goods_issue: off", []),
    ],
)
def test_a_reload_refuses_what_only_a_start_can_take(write, old, new, paths):
    """Connections and the store are made at the start; a reload says so and does not pretend. Modes it takes."""
    refused = needs_restart(read(write()), read(write((old, new))))
    assert sorted(finding.path for finding in refused) == paths
    assert all("restart the agent" in finding.message for finding in refused)


def test_the_rest_may_change_at_any_time(write):
    """Passwords, deadlines, limits and what may be posted are no part of a posting's identity."""
    before = read(write())
    path = write(("    postings: {goods_issue: live", "    timeout_s: 5\n    postings: {goods_issue: off"))
    after = load(path, resolve, {"GATEPOST_SECRET_ERP_PASSWORD": "rotated"})
    assert refuse_while_open(fixed(before), after) == []


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/+", "+/b", True),
        ("a/#", "a", True),
        ("#", "x/y/z", True),
        ("$share/g/a/b", "a/+", True),
        ("a/b", "a/c", False),
        ("a/+", "a/b/c", False),
        ("a/+/c", "a/b/d", False),
        ("a/b/#", "a/c/#", False),
    ],
)
def test_topic_filters_overlap_as_mqtt_says(one, other, expected):
    """The relation is symmetric."""
    assert (overlap(one, other), overlap(other, one)) == (expected, expected)


@pytest.mark.parametrize("address", ["18080", "127.0.0.1", ":18080", "host:0", "host:65536", "http://host:1", "::1:80"])
def test_an_address_is_host_and_port(write, address):
    """Anything else is refused with an example."""
    (finding,) = findings(write(("address: 127.0.0.1:18080", f'address: "{address}"')))
    assert "must be host:port" in finding.message


def test_a_table_of_plug_ins_names_what_it_knows():
    """A plug-in is imported when it is named; its constructor tells its model."""
    resolver = resolver_of({"sources": SOURCES, "targets": TARGETS, "workflows": WORKFLOWS})
    assert resolver("sources", "mqtt").__name__ == "MqttConfig"
    assert "backflush" in resolver("workflows", "confirmation").model_fields
    with pytest.raises(NotFound, match="did you mean 'mqtt'"):
        resolver("sources", "mqtts")


def test_the_model_of_any_reader_gets_its_lines(tmp_path):
    """`parse` reads any file into any model: lists, optional parts and numbers as text included."""

    class Row(Settings):
        material: str
        price: Decimal = Decimal(0)

    class Rows(Settings):
        rows: tuple[Row, ...]

    path = tmp_path / "rows.yaml"
    path.write_text("rows:\n  - {material: 0123, price: 1.10}\n  - material: x\n    price: cheap\n    unit: KG\n")
    with pytest.raises(ConfigError) as caught:
        parse(path, Rows)
    assert [(finding.line, finding.path, finding.value) for finding in caught.value.findings] == [
        (4, "rows[1].price", "cheap"),
        (5, "rows[1].unit", ""),
    ]
    path.write_text("rows:\n  - {material: 0123, price: 1.10}\n")
    assert str(parse(path, Rows).rows[0].price) == "1.10"
    assert parse(path, Rows).rows[0].material == "0123"


def test_the_configuration_of_the_bench_is_right():
    """edge_config/agent.yaml loads as it is, with the real plug-ins; the bench gives it the ERP's password."""
    resolver = resolver_of({"sources": SOURCES, "targets": TARGETS, "workflows": WORKFLOWS})
    config = load(HOUSE / "edge_config" / "agent.yaml", resolver, ENVIRON)
    assert {source.kind for source in config.sources} == {"mqtt", "http", "erp_orders"}
    assert config.authority_of("consumption").mode is AuthorityMode.AUTO
    assert config.workflows["consumption"].model == "consumption_anomaly"
    assert config.store.path.resolve() == HOUSE / "var" / "bench" / "gatepost.db"
