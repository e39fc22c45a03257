"""`gatepost check` and `gatepost cases`: everything that is wrong at once, and examples without Python."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from agent.scoring import registry
from tests.command_line import gatepost_

HOUSE = Path(__file__).resolve().parents[2]
CASES = HOUSE / "edge_config" / "cases"


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The configuration of the bench in a folder of its own; the ERP's password is in the environment."""
    shutil.copytree(HOUSE / "edge_config", tmp_path / "edge_config")
    shutil.copytree(HOUSE / "models", tmp_path / "models", ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    monkeypatch.setenv("GATEPOST_SECRET_ERP_PASSWORD", "canary-of-the-erp")
    monkeypatch.delenv("GATEPOST_DATA", raising=False)
    return tmp_path / "edge_config" / "agent.yaml"


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


# ── check ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_right_configuration_shows_what_would_run(config):
    """Workflow, model, authority, limits and targets are listed, then ok with the version."""
    ran = gatepost_(config, "check", str(config))
    assert ran.code == 0, ran.out
    for part in ("consumption_anomaly", "auto", "value ≤ 5000 EUR", "goods_issue live", "ok: "):
        assert part in ran.out


def test_what_is_wrong_about_accounts_is_told_at_once(config):
    """Each slip of the table with its line, and a model that looks at something else; right, both are told."""

    def told() -> str:
        return " ".join(gatepost_(config, "check", str(config)).out.split())  # however wide the terminal is

    assert "accounts.yaml gives scrap its G/L account, and posting_classification looks it over" in told()
    change(config, "  model: posting_classification", "  model: scrap_classification")
    table = config.parent / "accounts.yaml"
    again = '  - {movement: "551", valuation_class: "*", cost_object: cost_center, account: "890011"}\n'
    text = table.read_text()
    table.write_text(text + again)
    assert gatepost_(config, "check", str(config)).code == 2
    wrong = told()
    assert "accounts.yaml:18: rules[13]: is for the same case as rules[6]; keep one of the two" in wrong
    assert "accounts.model: " in wrong
    assert "the model takes scrapped_share" in wrong
    table.write_text(text + again.replace("cost_center", "costcentre"))
    assert "rules[13].cost_object: must be 'order', 'cost_center' or 'none'" in told()
    table.unlink()
    assert "accounts.table: there is no such file" in told()


@pytest.mark.parametrize(
    ("authority", "told"),
    [
        ("mode: advise", "writes nothing (advise)"),
        ("", "writes nothing (advise)"),
        ("mode: assist", "posts goods_issue live at s4 after a person's approval"),
        ("mode: auto", "posts goods_issue live at s4\n"),
    ],
)
def test_what_a_workflow_writes_is_told_by_its_authority(config, authority, told):
    """Nobody reads "posts live" of a workflow that writes nothing, or that asks a person first."""
    shipped = "consumption: {mode: auto, min_confidence: 0.9, max_value: 5000, audit_sample: 0.02}"
    change(config, shipped, f"consumption: {{{authority}}}")
    ran = gatepost_(config, "check", str(config))
    assert ran.code == 0, ran.out
    own = ran.out.partition("confirmation    ")[0]  # the others have an authority of their own
    assert told in own
    assert ("posts goods_issue" in own) == ("posts goods_issue" in told)


@pytest.mark.parametrize(
    ("scope", "anonymous", "warned"),
    [
        ("", "false", True),
        ("ingest", "false", True),
        ("read", "false", False),
        ("admin", "false", False),
        ("", "true", False),
    ],
)
def test_an_opcua_server_that_nobody_may_enter_is_told(config, scope, anonymous, warned):
    """Without a token that may read and without anonymous nobody can log in: a warning, since all else works."""
    tokens = f"\n  tokens: [{{name: anna, sha256: {64 * 'a'}, scopes: [{scope}]}}]" if scope else ""
    change(config, "  address: 127.0.0.1:18080", f"  address: 127.0.0.1:18080{tokens}")
    change(config, "management:", f"opcua_server: {{anonymous: {anonymous}}}\n\nmanagement:")
    ran = gatepost_(config, "check", str(config))
    assert ran.code == 0, ran.out
    assert "127.0.0.1:48010" in ran.out
    assert ("WARNING: nobody can log in: no token under api.tokens has the scope read" in ran.out) == warned


LINE = """  - name: line
    kind: line
    mqtt: {brokers: ["mqtt://127.0.0.1:1883"], topic: "plant/{work_center}/dispatch", answers: plant/taken}
    postings: {dispatch: live}

workflows:"""
HAS_LINE = (("workflows:", LINE), ("order_release:               #", "order_release:\n    targets: {line: line}  #"))
NO_LINE = "order_release: no target for role line under"
NOBODY = "order_release: no target for role notify under"
NO_ALARM = "scrap: no target for role notify under"
IN_PART = "what is decided as one would happen in part"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ((), [NO_LINE, NOBODY, NO_ALARM]),
        (HAS_LINE, [NOBODY, NO_ALARM]),
        (
            (*HAS_LINE, ("order_release: live", "order_release: dry-run"), ("{mode: advise, min", "{mode: auto, min")),
            [NOBODY, f"order_release: {IN_PART} (order_release dry-run at s4, dispatch live at line)", NO_ALARM],
        ),
        (
            (("defect: live", "defect: off"),),
            [NO_LINE, NOBODY, NO_ALARM, f"scrap: {IN_PART} (scrap live at s4, defect off at s4, stock_transfer live"],
        ),
    ],
)
def test_what_would_happen_in_part_or_be_told_to_nobody_is_a_warning(config, changes, told):
    """A role without a target, a group whose members have different modes: all the same the configuration is right."""
    for old, new in changes:
        change(config, old, new)
    ran = gatepost_(config, "check", str(config), "--json")
    assert ran.code == 0, ran.out
    warnings = json.loads(ran.out)["warnings"]
    assert [one[: len(start)] for one, start in zip(warnings, told, strict=True)] == told
    shown = " ".join(gatepost_(config, "check", str(config)).out.split())
    assert all(f"WARNING: {one.partition(': ')[2]}" in shown for one in warnings)


def test_the_missing_secret_of_the_bench_says_who_makes_it(config, monkeypatch):
    """In a fresh clone `check` says what makes the secret, and where it will be; of other secrets it does not."""
    monkeypatch.delenv("GATEPOST_SECRET_ERP_PASSWORD")
    ran = gatepost_(config, "check", str(config))
    assert ran.code == 2
    assert f"{config.parents[1]}/var/bench/secrets/erp_password" in ran.out
    assert "`make run` makes it for the bench" in ran.out
    change(config, "{secret: erp_password}", "{secret: another}")
    assert "make run" not in gatepost_(config, "check", str(config)).out


def test_everything_wrong_in_every_file_comes_at_once(config):
    """Findings of the configuration, a mapping, the master data, the units and the model arrive together."""
    edge = config.parent
    change(config, "currency: EUR", "currency: EURO")
    change(edge / "mappings" / "consumption.yaml", "kind: consumption", "kind: consumption\nnonsense: 1")
    change(edge / "masterdata" / "materials.csv", "RM-RESIN,KG", "RM-RESIN,STONE")
    change(config, "model: consumption_anomaly", "model: none_such")
    ran = gatepost_(config, "check", str(config))
    assert ran.code == 2
    for part in ("plant.currency: must", "consumption.yaml:3:", "materials.csv:2:", "none_such", "errors in"):
        assert part in ran.out
    assert "canary-of-the-erp" not in ran.out
    told = json.loads(gatepost_(config, "check", str(config), "--json").out)
    assert told["ok"] is False
    assert len(told["findings"]) >= 4


def test_broken_units_are_a_finding(config):
    """A unit table that cannot be read is told with its place."""
    (config.parent / "units.yaml").write_text("units: 5\n")
    ran = gatepost_(config, "check", str(config))
    assert ran.code == 2
    assert "units.yaml:1:" in ran.out


def test_a_missing_secret_hides_nothing_else(config, monkeypatch):
    """Without the secret the other findings still come."""
    monkeypatch.delenv("GATEPOST_SECRET_ERP_PASSWORD")
    change(config.parent / "mappings" / "consumption.yaml", "kind: consumption", "kind: weighing")
    ran = gatepost_(config, "check", str(config))
    assert "'erp_password' is missing" in ran.out
    assert "no mapping reads messages of kind 'consumption'" in ran.out


def test_live_postings_need_messages_with_an_identity(config):
    """A kind without message_id or unique_by is refused while its posting is live, also by `run`."""
    change(config.parent / "mappings" / "consumption.yaml", "message_id: $.id\n", "")
    for command in ("check", "run"):
        ran = gatepost_(config, command, str(config))
        assert ran.code == 2
        assert "no identity" in ran.out
    change(config, "goods_issue: live", "goods_issue: dry-run")
    assert gatepost_(config, "check", str(config)).code == 0


def test_double_consumption_is_refused(config):
    """Goods issues and backflushing confirmations live at the same target would count twice."""
    change(config, "backflush: false", "backflush: true")
    ran = gatepost_(config, "check", str(config))
    assert ran.code == 2
    assert "would consume twice" in ran.out


def test_workflows_and_mappings_must_fit(config):
    """A workflow without a mapping, and a mapping without a workflow, are findings."""
    (config.parent / "mappings" / "confirmation.yaml").rename(config.parent / "confirmation.txt")
    assert "no mapping reads messages of kind 'confirmation'" in gatepost_(config, "check", str(config)).out


def test_a_topic_that_no_mapping_reads_is_refused(config):
    """Its messages would all be quarantined: a slip in the topic, or a mapping that is still to be written."""
    change(config, "plant/1710/+/+/consumption", "plant/1710/+/+/weighing")
    ran = gatepost_(config, "check", str(config))
    assert ran.code == 2
    assert "agent.yaml:22: sources[0].topics[0]: no mapping reads a topic of this filter" in ran.out
    assert "(plant/1710/+/+/weighing)" in ran.out
    change(config, "plant/1710/+/+/weighing", "plant/1710/+/MIX-01/consumption")
    assert gatepost_(config, "check", str(config)).code == 0


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("mode: auto, min", "mode: automatic, min", "must be 'advise', 'assist' or 'auto' (automatic)"),
        ("min_confidence: 0.9", "min_confidence: 90", "must be less than or equal to 1 (90)"),
        ("    topics:\n", "   topics:\n", "look at the indentation"),
        ('site: "1710"', 'site: "1710', "does the quote of line 7 end?"),
        ("max_value: 5000", "max_quantity: {KGS: 5}", "authority.consumption.max_quantity.KGS: unit 'KGS' is unknown"),
    ],
)
def test_the_first_answer_is_enough_to_mend_it(config, before, after, told):
    """The value stands beside what is wrong with it, and bad YAML says where to look."""
    change(config, before, after)
    assert told in gatepost_(config, "check", str(config)).out


def test_a_model_where_the_workflow_asks_none_is_refused(config):
    """Found here, not at the start."""
    change(config, "    options: {backflush: false}", "    model: consumption_anomaly\n    options: {backflush: false}")
    ran = gatepost_(config, "check", str(config))
    assert ran.code == 2
    assert "this workflow asks no model; remove `model` from it" in ran.out


def test_a_model_whose_name_is_misspelt_is_told_with_the_name_that_is_meant(config):
    """No word of files that are to be restored."""
    change(config, "model: consumption_anomaly", "model: consumption_anomoly")
    ran = gatepost_(config, "check", str(config))
    assert ran.code == 2
    assert "there is no model 'consumption_anomoly' in " in ran.out
    assert "did you mean 'consumption_anomaly'?" in ran.out


@pytest.mark.parametrize(
    ("name", "told"),
    [("none_such", "there is no model 'none_such' in "), ("consumption_anomaly", "the model takes ")],
)
def test_a_model_that_forecasts_no_shortages_is_refused(config, name, told):
    """One that is not there, or answers another question, is a finding at the line that names it."""
    change(config, "posting_date:", f"shortages: {{model: {name}}}\n\nposting_date:")
    ran = gatepost_(config, "check", str(config))
    assert ran.code == 2
    assert "shortages.model" in ran.out
    assert told in ran.out
    change(config, f"{{model: {name}}}", "{}")
    assert gatepost_(config, "check", str(config)).code == 0


def test_a_model_that_was_changed_is_refused(config):
    """A byte of the model that its manifest does not know is a finding at the line that names it."""
    model = registry.champion(config.parent.parent / "models" / "consumption_anomaly") / "model.onnx"
    model.write_bytes(model.read_bytes() + b"\0")
    ran = gatepost_(config, "check", str(config))
    assert ran.code == 2
    assert "workflows.consumption.model" in ran.out


# ── cases ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_cases_of_the_project_pass(config, monkeypatch):
    """The examples that come with the configuration become what they say; no secret is needed."""
    monkeypatch.delenv("GATEPOST_SECRET_ERP_PASSWORD")
    ran = gatepost_(config, "cases", str(CASES))
    assert ran.code == 0, ran.out
    assert ran.out.count("ok ") == len([*CASES.glob("*.event.json")]) > 5


def test_a_case_that_differs_shows_how(config):
    """The difference is printed as expected against happened, and the exit code is 1."""
    expected = config.parent / "cases" / "consumption-within-limits.expected.json"
    change(expected, '"96.400"', '"12.000"')
    ran = gatepost_(config, "cases", str(expected.parent))
    assert ran.code == 1
    assert '-        "quantity": "12.000"' in ran.out
    assert '+        "quantity": "96.400"' in ran.out
    told = json.JSONDecoder().raw_decode(gatepost_(config, "cases", str(expected.parent), "--json").out)[0]
    assert [name for name, one in told.items() if not one["ok"]] == ["consumption-within-limits"]


def test_tighter_limits_break_the_case_that_relied_on_them(config):
    """The configuration's own authority decides: under `assist` the same event is held."""
    change(config, "consumption: {mode: auto,", "consumption: {mode: assist,")
    ran = gatepost_(config, "cases", str(CASES))
    assert ran.code == 1
    assert '+  "state": "held"' in ran.out


def test_expectations_can_be_written_from_what_happens(config):
    """--write makes what is missing and leaves what is there; without it a missing file is a failure."""
    folder = config.parent / "cases"
    (folder / "consumption-within-limits.expected.json").unlink()
    assert gatepost_(config, "cases", str(folder)).code == 1
    assert gatepost_(config, "cases", str(folder), "--write").code == 0
    assert json.loads((folder / "consumption-within-limits.expected.json").read_text())["state"] == "posted"


@pytest.mark.parametrize(
    "event",
    [
        "{",
        "[]",
        '{"topic": "x"}',
        '{"topic": "x", "payload": {}, "text": ""}',
        '{"topic": "x", "payload": {}, "extra": 1}',
        '{"topic": "x", "payload": {}, "received_at": "2026-11-20T12:00:00"}',
        '{"topic": "x", "payload": {}, "received_at": "soon"}',
        '{"topic": "x", "payload": {}, "received_at": 5}',
        '{"topic": 7, "payload": {}}',
        '{"topic": "x", "text": 7}',
        '{"topic": "x", "payload": {}, "source": null}',
        '{"topic": "x", "payload": {}, "properties": [1]}',
    ],
)
def test_a_broken_case_names_its_file(config, event):
    """An event file that is none is exit code 2 with its name."""
    folder = config.parent / "mine"
    folder.mkdir()
    (folder / "broken.event.json").write_text(event)
    ran = gatepost_(config, "cases", str(folder))
    assert ran.code == 2
    assert "broken.event.json:1:" in ran.out


def test_an_empty_folder_says_what_a_case_is(config, tmp_path):
    """No case is an error, not a success."""
    ran = gatepost_(config, "cases", str(tmp_path))
    assert ran.code == 1
    assert "NAME.event.json" in ran.out
