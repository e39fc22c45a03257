"""The command line shows what the store knows, to people and to programs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from agent.cli import COMMANDS, gatepost
from agent.commands import show, status, trace
from agent.ports import Acknowledgement, Batch, Delivery, Kind, Posting
from agent.scoring import registry
from agent.store import inbox, masterdata, outbox, reversals
from agent.store.balance import EVENT_STATES, POSTING_STATES
from agent.store.forecast import Forecast, forecast
from agent.store.writer import Writer
from agent.units import UnitTable
from tests import stores
from tests.command_line import DOCUMENT, filled, folder, gatepost_

UNITS = Path(__file__).parents[2] / "edge_config/units.yaml"


@pytest.fixture
def config(tmp_path):
    return filled(tmp_path)


def test_help_needs_no_library_of_the_agent():
    """`gatepost --help` imports neither the ERP client, nor the model runtime, nor the web server, nor the store."""
    code = (
        "import sys; from agent.cli import gatepost; gatepost(['--help'], standalone_mode=False); "
        "slow = {'httptools', 'onnxruntime', 'numpy', 'fastapi', 'asyncio', 'apsw', 'rich', 'pydantic'}; "
        "print(sorted(slow & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "deadletter" in out
    assert "damaged" in out
    assert out.rstrip().endswith("[]")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_list_of_commands_says_what_each_says_of_itself(name):
    """The summary in the table of commands is the first sentence of the command's own help."""
    context = click.Context(gatepost)
    command = gatepost.get_command(context, name)
    assert command is not None
    assert (command.help or "").split("\n\n")[0] == COMMANDS[name][1]


def test_status_counts_and_says_what_to_do(config):
    """`status` shows each state with the command that looks into it, blocked orders and the last alarms."""
    shown = gatepost_(config, "status")
    assert shown.code == 0
    for part in ("not running", "gatepost approvals list", "gatepost quarantine list", "order/2", "Deficit of SL"):
        assert part in shown.out


def test_status_does_not_call_messages_to_people_booked(config):
    """What was acknowledged may have no document: people were told, a line has its order."""
    assert re.search(r"(?m)^acknowledged +1 .*booked with a document, or delivered", gatepost_(config, "status").out)


def test_status_says_how_many_there_are_apart_from_their_states(config):
    """What was received and what was created stands over the states that add up to it."""
    lines = [" ".join(line.split()) for line in gatepost_(config, "status").out.splitlines()]
    assert "events 2 received oldest" in lines
    assert "postings 5 created oldest" in lines
    assert not any(line.startswith(("received", "created")) for line in lines)


def test_status_says_that_events_are_decided_and_paths_as_they_are(config):
    """The state `posted` of an event is shown as a decision, and the store without `..` on the way to it."""
    config.write_text(config.read_text().replace("path: data/", "path: data/../data/"))
    shown = gatepost_(config, "status").out
    assert re.search(r"(?m)^to post +1 +decided;", shown)
    assert not re.search(r"(?m)^posted ", shown)
    assert f"{config.parent}/data/gatepost.db" in shown
    assert json.loads(gatepost_(config, "status", "--json").out)["events"]["posted"] == 1


def test_a_young_store_divides_by_its_own_age(config):
    """The one document of a store that is younger than an hour is more than one an hour."""
    coming = json.loads(gatepost_(config, "status", "--json").out)["forecast"]
    assert coming["documents_per_s"] > 1 / 3600


def after_thirty_arrivals(folder: Path, life: int) -> Forecast:
    """Of a store that lived so many seconds; the arrivals of the last one took 3000 bytes, and 60 000 are free."""
    clock = stores.Clock()
    with stores.opened(folder / "gp.db", clock) as writer:
        writer.call(lambda tx: tx.audit("started", {}))
        clock.forward(seconds=life)
        batch = Batch("line", [Delivery("t", b"{}")] * 30, clock(), lambda: None)
        writer.call(lambda tx: inbox.store(tx, batch))
        with stores.reading(folder / "gp.db") as connection:
            return forecast(connection, clock(), used=3000, free=60_000)


@pytest.mark.parametrize(("life", "seconds"), [(1, 60), (120, 120), (3600, 3600), (9 * 86400, 3600)])
def test_the_rates_are_those_of_the_life_of_a_store(tmp_path, life, seconds):
    """Thirty arrivals in the last second: over the store's life, but at least a minute and at most an hour."""
    told = after_thirty_arrivals(tmp_path, life)
    assert told.events_per_s == 30 / seconds


@pytest.mark.parametrize(
    ("life", "full", "shown"), [(60, None, "not known yet"), (3599, None, "not known yet"), (3600, 72_000, "20 hours")]
)
def test_when_the_disk_is_full_is_said_after_an_hour(tmp_path, life, full, shown):
    """Of a store that is younger than an hour `status` says that it is not known yet."""
    told = after_thirty_arrivals(tmp_path, life)
    assert told.disk_full_in_s == full
    assert shown in status.disk_full(told.disk_full_in_s, young=told.young)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (5, "less than two minutes"),
        (340, "about 6 minutes"),
        (3 * 3600 + 700, "about 3 hours"),
        (22.4 * 86400, "about 22 days"),
        (575 * 86400 + 17 * 3600, "more than a year"),
    ],
)
def test_a_forecast_is_no_finer_than_it_can_be_known(seconds, shown):
    """One unit, rounded; what is further away than a year is only that."""
    assert show.roughly(seconds) == shown


def test_status_for_programs(config):
    """`status --json` carries counts, balance, forecast and whether an agent runs."""
    told = json.loads(gatepost_(config, "status", "--json").out)
    assert told["agent"]["running"] is False
    assert told["postings"]["dead"] == told["postings"]["doubtful"] == 1
    assert told["balance"] == {"events": 0, "postings": 0}
    assert told["forecast"]["drained_in_s"] == 0


def test_status_says_what_the_faces_do(capsys):
    """The OPC UA server and the Sparkplug node stand beside sources and targets, with what they wait for."""
    waits = "for the primary host scada to be online"
    faces = {
        "opcua_server": {"connected": False, "error": "OSError: address in use"},
        "sparkplug_node": {"connected": True, "error": None, "waiting": waits},
    }
    status._connections({"sources": {"line": {"connected": True}}, "targets": {}, "faces": faces})
    shown = [line.rstrip().split(maxsplit=2) for line in capsys.readouterr().out.splitlines() if line][1:]
    assert shown == [
        ["source", "line", "up"],
        ["opcua_server", "down", "OSError: address in use"],
        ["sparkplug_node", "up", waits],
    ]


def test_status_says_which_model_is_missed_and_why():
    """A model of which no version fits is a line of its own; one that scores is none."""
    told = {
        "consumption_anomaly": {
            "scores": "consumption_anomaly",
            "error": "manifest.json is not signed",
            "meanwhile": "reports that need it are held",
        },
        "other": {"scores": "other/2", "error": None},
    }
    (line,) = status.absent_models(told)
    assert line == "model   consumption_anomaly: manifest.json is not signed; reports that need it are held"


@pytest.mark.parametrize("name", ["1", "A-1", DOCUMENT, "posting:1"])
def test_trace_finds_a_life_by_any_of_its_names(config, name):
    """Event number, message id, document and posting number lead to the same story."""
    shown = gatepost_(config, "trace", name)
    assert shown.code == 0
    for part in ("arrived from line", "because: within tolerance", f"document: {DOCUMENT}", "12.500 KGM RM-RESIN"):
        assert part in shown.out
    assert json.loads(gatepost_(config, "trace", name, "--json").out)["postings"][0]["document"] == DOCUMENT


def test_a_number_that_is_an_event_and_a_posting_is_told_as_both(config):
    """The event is shown, and how to ask for the posting; with its sort before it a number is one thing only."""
    both = gatepost_(config, "trace", "1")
    assert both.out.startswith("1 is event 1\n1 is also posting 1: gatepost trace posting:1\n")
    assert json.loads(gatepost_(config, "trace", "1", "--json").out)["also"] == [
        {"name": "posting:1", "means": "posting 1"}
    ]
    for alone in ("posting:1", "event:1"):
        told = gatepost_(config, "trace", alone).out
        assert told.startswith("event 1: decided to post\n")
        assert "is also" not in told


def test_a_number_of_a_posting_alone_leads_to_the_posting(config):
    """There is no event 5, but a posting."""
    shown = gatepost_(config, "trace", "5")
    assert shown.out.startswith("5 is posting 5\n")
    assert "doubtful" in shown.out


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("A-1", "A-1 is the message id of event 1"),
        (DOCUMENT, f"{DOCUMENT} is the document of posting 1"),
        ("4900000001", f"4900000001 is document {DOCUMENT} of posting 1"),
        ("s89pgc02cwf6jt98", "s89pgc02cwf6jt98 is the key of posting 2"),
    ],
)
def test_trace_says_what_it_took_a_name_for(config, name, told):
    """Also where only the number of a document was given, without its year."""
    assert gatepost_(config, "trace", name).out.startswith(f"{told}\n")


@pytest.mark.parametrize("name", ["order:2", "order:3"])
def test_an_order_leads_to_its_postings(config, name):
    """Each with its state, what it does, and what the ERP said."""
    out = gatepost_(config, "trace", name).out
    assert "12.500 KGM RM-RESIN" in out
    assert "gatepost trace posting:NUMBER" in out
    assert ("the ERP said: M7/021" in out) == (name == "order:2")
    assert len(json.loads(gatepost_(config, "trace", name, "--json").out)["postings"]) == 1
    assert gatepost_(config, "trace", "order:77").code == 1


def test_an_order_tells_whether_it_can_be_released_and_what_people_were_told(tmp_path):
    """The constraint by its name, also where nobody could be told; the message with its whole sentence."""
    config = folder(tmp_path)
    blocked = {"status": "BLOCKED", "causes": ["component/PT-SPRING/blocks"], "signature": "s", "released": ""}
    subject = "order 77 is blocked: component PT-SPRING is missing"
    told = {"kind": Kind.NOTIFICATION, "payload": {"order": "77", "subject": subject, "text": "all of it"}}
    with stores.opened(tmp_path / "data" / "gatepost.db") as writer:
        writer.call(lambda tx: inbox.put_states(tx, [("order_release/77", blocked), ("order_release/78", {})]))
        alone = gatepost_(config, "trace", "order:77").out
        stores.add(
            writer,
            stores.posting(1, "notify/order/77/component/PT-SPRING/blocks", **told),
            stores.posting(2, "order/7"),
        )
    assert alone.startswith("release: BLOCKED, because of component PT-SPRING\n")
    out = gatepost_(config, "trace", "order:77").out
    assert f"notification: {subject}" in out
    assert len(json.loads(gatepost_(config, "trace", "order:7", "--json").out)["postings"]) == 1
    assert gatepost_(config, "trace", "order:78").code == 1


@pytest.mark.parametrize(
    "command", [("trace", "posting:3"), ("approvals", "list"), ("approvals", "show", "3"), ("deadletter", "list")]
)
def test_people_read_units_as_the_users_of_the_erp_call_them(config, command):
    """KG, with no code beside it; what is stored and signed keeps the code, and programs are told that."""
    config.write_text(config.read_text() + f"units: {UNITS}\n")
    out = gatepost_(config, *command).out
    assert "12.500 KG RM-RESIN" in out
    assert ("unit: KG\n" in out) == (command[-1] != "list")
    assert "KGM" in gatepost_(config, *command, "--json").out


def test_what_goes_back_is_no_issue(config):
    """A goods issue with the movement that takes one back says so; one without it does not."""
    with stores.opened(config.parent / "data" / "gatepost.db") as writer:
        back = {"order": "9", "material": "RM-RESIN", "quantity": "1.630", "unit": "KGM", "movement": "262"}
        stores.add(writer, stores.posting(6, "order/9", payload=back), stores.posting(7, "order/9"))
    out = gatepost_(config, "trace", "order:9").out
    assert "goods issue: take back 1.630 KGM RM-RESIN" in out
    assert out.count("take back") == 1


@pytest.mark.parametrize("kind", ["consumption", "follow_on", "of_tomorrow"])
def test_a_message_id_alone_is_found_under_every_kind_of_report(config, kind):
    """Also under one that no workflow of today reads: the kinds are those that the store has seen."""
    with stores.opened(config.parent / "data" / "gatepost.db") as writer:
        stores.arrive(writer, b"{}", b"[]")
        keys = (f"{kind}:FOLLOW-ON-2026", "event:line:77")
        settled = [inbox.Settlement(event, "ignored", key, bytes(32)) for event, key in enumerate(keys, 3)]
        writer.call(lambda tx: inbox.settle(tx, settled))
    assert gatepost_(config, "trace", "FOLLOW-ON-2026").out.startswith("FOLLOW-ON-2026 is the message id of event 3\n")
    assert gatepost_(config, "trace", f"{kind}:FOLLOW-ON-202").code == 1


def test_what_waits_for_the_one_before_it_is_not_told_as_held():
    """Of a group only the first waits for a person, and a figure has no digits that mean nothing."""
    step = {"posting": None, "actor": "agent", "action": "decided", "at": "2026-11-20T21:00:00+00:00", "alarm": False}
    detail = {"postings": [[1, "held"], [2, "held"], [3, "held"]], "confidence": 4.0531158447265625e-05}
    group = {"postings": [{"id": 1}, {"id": 2}]}
    behind = trace._behind([{"group": group}, {"group": None}])
    (*_, lines) = trace._step({**step, "detail": detail}, trace.Shown(lambda _: (), UnitTable(), "EUR"), behind)
    assert lines.splitlines() == [
        "    postings: 1 held, 2 waits for the one before, 3 held",
        "    confidence: 0.00004053",
    ]


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (1.0, "1"), (0.1 + 0.2, "0.3"), (-2 / 3, "-0.6667"), (12345.6789, "12345.679"),
                         (1e22, "10000000000000000000000"), (float("inf"), "inf")],
)  # fmt: skip
def test_a_figure_has_only_the_digits_that_count(value, shown):
    """Neither powers of ten nor the rest of a binary fraction."""
    assert show.figure(value) == shown


def test_without_a_readable_table_of_units_their_codes_are_shown(config, tmp_path):
    """A broken units.yaml does not keep anybody from looking."""
    (tmp_path / "units.yaml").write_text("sap: [")
    config.write_text(config.read_text() + f"units: {tmp_path}/units.yaml\n")
    for command in (("trace", "posting:3"), ("approvals", "list")):
        shown = gatepost_(config, *command)
        assert shown.code == 0
        assert "12.500 KGM RM-RESIN" in shown.out


def scored(models: Path) -> dict[str, object]:
    """A score of the model of this repository, with the names of its facts."""
    champion = registry.champion(models / "consumption_anomaly")
    manifest = json.loads((champion / "manifest.json").read_text())
    names = [one["name"] for one in manifest["features"]]
    return {"model": f"consumption_anomaly/{champion.name}", "sha256": manifest["files"]["model.onnx"], "names": names}


def test_the_facts_behind_a_score_have_their_names():
    """They are those of the manifest of the very model; another model of that name, or none, gives numbers alone."""
    models = Path(__file__).parents[2] / "models"
    score = scored(models)
    assert trace.fact_names(models, score) == score["names"]
    assert trace.fact_names(models, score | {"sha256": "0" * 64}) == ()
    assert trace.fact_names(models / "none", score) == ()
    step: dict[str, object] = {
        "posting": None,
        "actor": "agent",
        "action": "decided",
        "at": "2026-11-20T21:00:00+00:00",
        "alarm": False,
    }
    step["detail"] = {"score": score | {"confidence": 0.98, "features": [0.01381, 2.0], "reasons": []}}
    story = {"event": None, "history": [step], "postings": [], "taken_back": []}
    assert "    facts it saw: deviation 0.01381, distance 2" in trace.timeline(
        story, trace.Shown(lambda _: ("deviation", "distance"), UnitTable(), "EUR")
    )
    assert "    facts it saw: 0.01381, 2" in trace.timeline(story, trace.Shown(lambda _: (), UnitTable(), "EUR"))


@pytest.mark.parametrize("width", [20, 80, 120])
def test_long_lines_are_folded_and_nothing_of_them_is_lost(monkeypatch, capsys, width):
    """Every line fits, what goes on is indented, and together they are the message."""
    monkeypatch.setattr(show, "WIDE", width)
    text = "    message: " + json.dumps({f"key {n}": "x" * n for n in range(40)}) + "\n    short"
    show.folded(text)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= width for line in lines)
    assert all(line.startswith("    ") for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_trace_of_nothing_says_how_to_ask(config):
    """An unknown name is exit code 1 and a sentence."""
    ran = gatepost_(config, "trace", "nothing-of-that")
    assert ran.code == 1
    assert "give an event's number, posting:NUMBER" in ran.out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["approvals", "show", "9" * 23], 2),
        (["approvals", "list", "--limit", "-1"], 2),
        (["deadletter", "list", "--limit", "9" * 23], 2),
        (["deadletter", "replay", "9" * 23, "--reason", "x"], 2),
        (["quarantine", "show", "9" * 23], 2),
        (["quarantine", "replay", "0", "--reason", "x"], 2),
        (["trace", "9" * 23], 1),
        (["trace", "posting:" + "9" * 23], 1),
        (["trace", "posting:²"], 1),
        (["trace", "²"], 1),
        (["trace", ""], 1),
        (["selfcheck", "--writes", "0"], 2),
        (["quarantine", "export", "/dev/null"], 1),
        (["quarantine", "export", "/proc/none"], 1),
        (["export", "events", "/proc/none/x.db"], 1),
        (["export", "events", "/proc/none/x.csv"], 1),
        (["audit", "verify", "--public-key", "/proc/none"], 2),
        (["token", "", "--scope", "read"], 2),
        (["token", "a b: {}", "--scope", "read"], 2),
    ],
)
def test_what_makes_no_sense_is_one_sentence(config, words, code):
    """A number that no row can have, a name nobody may have, a place that is none: an exit code, never a traceback."""
    ran = gatepost_(config, *words)
    assert ran.code == code, ran.out
    assert ran.out.strip()


def test_a_made_token_is_one_that_the_configuration_takes():
    """What `token` prints is read back as it was meant, also a line with a comma in its name."""
    ran = gatepost_(Path("none.yaml"), "token", "hmi-3", "--scope", "read", "--line", "mixing, hall 2")
    told = yaml.safe_load(ran.out[ran.out.index("  tokens:") :])["tokens"][0]
    assert (told["name"], told["scopes"], told["lines"]) == ("hmi-3", ["read"], ["mixing, hall 2"])


def test_a_message_cannot_talk_to_the_terminal(config):
    """Control characters of a payload are shown as codes."""
    shown = gatepost_(config, "quarantine", "show", "2")
    assert "\x1b" not in shown.out
    assert "\\x1b[31m" in shown.out


def test_lists_show_what_waits_and_why(config):
    """Held, dead and doubtful postings are listed with the reason; --json gives the same rows."""
    assert "200 % of what was expected" in gatepost_(config, "approvals", "list").out
    assert [one["id"] for one in json.loads(gatepost_(config, "approvals", "list", "--json").out)] == [3, 4]
    dead = gatepost_(config, "deadletter", "list").out
    assert "M7/021: Deficit of SL" in dead
    assert "two lookups found nothing" in dead
    for command in (("approvals", "list"), ("approvals", "show", "3"), ("trace", "posting:3")):
        assert "40.00 EUR" in gatepost_(config, *command).out
    assert json.loads(gatepost_(config, "approvals", "show", "3", "--json").out)["currency"] == "EUR"
    assert "RM-RESIN" in gatepost_(config, "approvals", "show", "3").out
    assert gatepost_(config, "deadletter", "show", "99").code == 1


def test_a_quarantined_message_becomes_a_case(config, tmp_path):
    """`quarantine export` writes a file per message that `gatepost cases` reads; what is no JSON stays text."""
    assert gatepost_(config, "quarantine", "export", str(tmp_path / "out")).code == 0
    case = json.loads((tmp_path / "out" / "2.event.json").read_text())
    assert case["topic"] == "plant/x/consumption"
    assert case["text"].startswith('{"id": "A-2')


def test_no_store_no_configuration_and_a_wreck_have_codes_of_their_own(tmp_path):
    """1: no store; 2: no configuration; 4: a file that is no database."""
    config = folder(tmp_path)
    assert gatepost_(config, "status").code == 1
    assert gatepost_(tmp_path / "none.yaml", "status").code == 2
    (tmp_path / "data" / "gatepost.db").write_bytes(b"this is no database" * 500)
    ran = gatepost_(config, "status")
    assert ran.code == 4
    assert "gatepost recover" in ran.out


def test_looking_needs_no_secrets_and_no_plug_ins(config):
    """Sections that are wrong or whose secrets are missing do not keep anybody from looking."""
    config.write_text(config.read_text() + "targets: [{name: s4, kind: nonsense, password: {secret: absent}}]\n")
    assert gatepost_(config, "status").code == 0


def test_status_says_what_the_checks_found():
    """Damage and a broken trail are lines of their own, with what to run; a sound store says nothing."""
    found = "\n".join(status.damage({"damage": "checking chain met a damaged page", "chain_ok": False}))
    assert "DAMAGED checking chain met a damaged page: restore a backup, or gatepost recover" in found
    assert "gatepost audit verify" in found
    assert list(status.damage({"damage": "", "chain_ok": True})) == []


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({"connected": True}, "up"),
        ({"connected": True, "silent_s": None}, "up"),
        ({"connected": True, "silent_s": 14.2}, "silent for 14 s"),
        ({"connected": False, "silent_s": None}, "down"),
        ({"waiting": ""}, "up"),
        ({"waiting": "no answer"}, "down"),
    ],
)
def test_a_silent_connection_is_not_called_up(told, shown):
    """`status` tells silence for as long as nobody knows whether the other side is there."""
    assert status.connection(told) == shown


@pytest.mark.parametrize(
    ("paused", "trouble", "told"),
    [
        ([], "", ""),
        ([], "SAP cannot answer now", " once s4 takes postings again"),
        ([{"scope": "line"}], "", " once it goes on: something is paused"),
    ],
)
def test_a_backlog_behind_a_closed_target_is_not_called_drained_soon(paused, trouble, told):
    """What it waits for stands beside the forecast."""
    assert status._once({"paused": paused, "targets": {"s4": {"waiting": trouble}}}) == told


LISTS = (("approvals", "list"), ("deadletter", "list"), ("quarantine", "list"), ("status",))


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("words", LISTS, ids=" ".join)
def test_lists_can_be_read_on_a_narrow_screen(config, monkeypatch, words, width):
    """No line is wider than the terminal; numbers, keys, states, reasons and commands stay in one piece."""
    monkeypatch.setenv("COLUMNS", str(width))
    shown = gatepost_(config, *words).out
    lines = [line.rstrip() for line in shown.splitlines()]
    path = str(config.parent)  # of this test's folder, which may be long
    assert all(len(line) <= width for line in lines if path not in line), shown
    whole = {
        "approvals": ["3        order/3  goods issue  40.00", "because: 200 % of what was expected", "0 of 2 people"],
        "deadletter": ["S89PGC02CWF6JT98", "the ERP said: M7/021: Deficit of SL Unrestricted-use 5 KG", "doubtful"],
        "quarantine": ["plant/x/consumption", '$.unit: "stone" is no unit'],
        "status": ["gatepost approvals list", "gatepost deadletter list", "gatepost quarantine list"],
    }[words[0]]
    for part in whole:
        assert part in shown, part


@pytest.mark.parametrize("width", [40, 80])
def test_entries_fold_what_is_long_and_lose_nothing(monkeypatch, capsys, width):
    """A topic or a reason of any length, also with line breaks in it, is folded within the width."""
    monkeypatch.setattr(show, "WIDE", width)
    monkeypatch.delenv("COLUMNS", raising=False)
    show.entries(["id", "topic"], [(["7", "a/" * 50], ["why " * 40, "two\nlines"])])
    printed = capsys.readouterr().out
    assert all(len(line) <= width for line in printed.splitlines())
    assert "".join(printed.split()) == "idtopic7" + "a/" * 50 + "why" * 40 + "twolines"


def test_every_state_has_its_words():
    """Neither `trace` nor `status` meets a state that it cannot explain."""
    assert set(trace.DECIDED) == set(status.MEANING) == set(EVENT_STATES)
    assert set(trace.BECAME) == set(status.MEANING_OF_POSTINGS) == set(POSTING_STATES)


def test_trace_says_first_whether_it_is_booked(config):
    """An event is decided, its posting is booked or not: the first lines say which, in capitals where it is not."""
    booked = gatepost_(config, "trace", "event:1").out.splitlines()
    assert booked[:2] == ["event 1: decided to post", f"posting 1 is booked (acknowledged): document {DOCUMENT}"]
    with stores.opened(config.parent / "data" / "gatepost.db") as writer:
        stores.add(writer, stores.posting(6, "order/6", event_id=1))
    waits = gatepost_(config, "trace", "event:1").out.splitlines()
    assert waits[2] == "posting 6 is NOT booked yet: it waits for its turn (ready)"
    assert gatepost_(config, "trace", "event:2").out.startswith("event 2: in quarantine, nothing was posted: $.unit")


def book(writer: Writer, posting: Posting) -> None:
    writer.call(lambda tx: outbox.acknowledged(tx, posting, Acknowledgement(f"D/{posting.id}")))


def test_trace_says_first_what_was_taken_back_and_by_which_posting(config):
    """Also where another event made the reversal; one that was refused takes nothing back."""
    booked = f"posting 1 is booked (acknowledged): document {DOCUMENT}"
    gatepost_(config, "reverse", DOCUMENT, "--reason", "wrong order")
    planned = gatepost_(config, "trace", "event:1").out.splitlines()
    assert planned[1] == f"{booked}; to be taken back by posting 6 (ready)"
    assert planned[2].endswith(f"waits for its turn (ready); it takes back {DOCUMENT} of posting 1")
    assert json.loads(gatepost_(config, "trace", "posting:6", "--json").out)["taken_back"] == [
        {"posting": 1, "document": DOCUMENT, "by": 6, "state": "ready", "by_document": None}
    ]
    with stores.opened(config.parent / "data" / "gatepost.db") as writer:
        stores.add(writer, stores.posting(7, "told", kind=Kind.NOTIFICATION, event_id=1))
        for one in stores.claim(writer):
            book(writer, one.posting)
        writer.call(lambda tx: tx.execute("UPDATE posting SET event_id = 2 WHERE id = 6"))
    told = gatepost_(config, "trace", "event:1").out.splitlines()
    assert told[1:3] == [
        f"{booked}; TAKEN BACK by posting 6: document D/6",
        "posting 7 was delivered (acknowledged): document D/7",
    ]
    of_order = gatepost_(config, "trace", "order:1").out
    assert "goods issue: 12.500 KGM RM-RESIN; TAKEN BACK by posting 6: document D/6" in of_order
    assert f"reversal: take back {DOCUMENT}\n" in of_order
    assert list(trace._back(1, [{"posting": 1, "by": 6, "state": "refused"}])) == []
    with stores.opened(config.parent / "data" / "gatepost.db") as writer:
        plan = writer.call(lambda tx: tx.execute(f"EXPLAIN QUERY PLAN {reversals._REVERSALS}", ("x",)).fetchall())
        assert any("posting_takes_back" in str(row[-1]) for row in plan), plan


def test_the_release_sequence_of_a_work_centre_is_shown_with_what_it_gains(tmp_path):
    """For people and for programs; one without orders says so, an unknown work centre is refused."""
    edge = Path(__file__).parents[2] / "edge_config"
    config = filled(tmp_path, f"masterdata: {edge / 'masterdata'}\nunits: {UNITS}\n")
    assert "MOLD-02 has no open orders" in gatepost_(config, "sequence", "MOLD-02").out
    order = {
        "order": "7", "material": "CMP-BLUE", "plant": "1710", "quantity": "1000", "unit": "KGM", "status": "released",
        "operations": [{"operation": "0010", "work_center": "MIX-01", "unit": "KGM"}], "due": "2020-01-01T12:00:00Z",
    }  # fmt: skip
    other = {**order, "order": "8", "material": "RM-RESIN"}
    with stores.opened(tmp_path / "data" / "gatepost.db") as writer:
        writer.call(lambda tx: masterdata.put(tx, [("order", "7", order), ("order", "8", other)], "erp"))
    found = json.loads(gatepost_(config, "sequence", "MIX-01", "--json").out)
    assert [(one["order"], one["set_up_minutes"]) for one in found["orders"]] == [("7", 30)]
    listed = gatepost_(config, "sequence", "MIX-01", "--set-up-for", "blue").out
    assert "goes on with blue, no set-up" in listed
    assert "minutes in all, weighted; no set-up\n" in listed
    assert "1 set-up of 30 minutes" in gatepost_(config, "sequence", "MIX-01").out
    assert "1 of 1 late" in listed
    assert "nobody knows whether MIX-01 runs: no tag tells it here" in listed
    assert "by the order of the ERP: 1 late" in listed
    assert "left out: 8: routings.yaml has no entry for RM-RESIN at MIX-01" in listed
    ran = gatepost_(config, "sequence", "MIX-1")
    assert ran.code == 1
    assert "work centre 'MIX-1' is not known; known: ASSY-05, MIX-01, MOLD-02" in ran.out
