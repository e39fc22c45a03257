"""The bench gateway runs a project as far as its formats are documented: bindings, scripts, popups, the challenge."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from simulators.gateway.expressions import ExpressionError, evaluate
from simulators.gateway.gateway import Gateway, User
from simulators.gateway.project import PERSPECTIVE, ProjectError
from simulators.gateway.server import Server

PASSWORD = "bench"
USERS = [User("anna", "Anna", "Berg", ("Supervisor",), PASSWORD), User("ben", "Ben", "Alt", ("Operator",), PASSWORD)]
TAGS = {
    "name": "",
    "tagType": "Provider",
    "tags": [
        {
            "name": "Plant",
            "tagType": "Folder",
            "tags": [
                {"name": "Count", "tagType": "AtomicTag", "valueSource": "memory", "dataType": "Int4", "value": 3},
                {
                    "name": "Online",
                    "tagType": "AtomicTag",
                    "valueSource": "memory",
                    "dataType": "Boolean",
                    "value": False,
                },
                {"name": "Queue", "tagType": "AtomicTag", "valueSource": "memory", "dataType": "DataSet", "value": ""},
                {
                    "name": "Heartbeat",
                    "tagType": "AtomicTag",
                    "valueSource": "opc",
                    "dataType": "Int8",
                    "opcItemPath": "x",
                },
            ],
        }
    ],
}
LIBRARY = """
from java.lang import Exception as JavaException
LOG = system.util.getLogger("plant.queue")
CLIENT = system.net.httpClient(timeout=2000)

def poll():
	url = system.tag.readBlocking(["[default]Plant/Count"])[0].value
	rows = [[n, u"row %d" % n] for n in range(url)]
	queue = system.dataset.toDataSet(["id", "text"], rows)
	system.tag.writeBlocking(["[default]Plant/Queue", "[default]Plant/Online"], [queue, True])

def ask(url):
	try:
		return CLIENT.get(url, timeout=1000).statusCode
	except (Exception, JavaException):
		return 0
"""


def label(name: str, expression: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "ia.display.label",
        "meta": {"name": name},
        "propConfig": {"props.text": {"binding": {"type": "expr", "config": {"expression": expression}}}},
        **more,
    }


def button(name: str, script: str) -> dict[str, Any]:
    events = {"component": {"onActionPerformed": {"type": "script", "scope": "G", "config": {"script": f"\t{script}"}}}}
    return {"type": "ia.input.button", "meta": {"name": name}, "props": {"text": name}, "events": events}


def view(*children: dict[str, Any], **more: Any) -> dict[str, Any]:
    root = {
        "type": "ia.container.flex",
        "meta": {"name": "root"},
        "props": {"direction": "column"},
        "children": list(children),
        **more.pop("root", {}),
    }
    return {"custom": {}, "params": {}, "props": {}, "propConfig": {}, "root": root, **more}


MORE = """n = system.tag.readBlocking(["[default]Plant/Count"])[0].value
	system.tag.writeBlocking(["[default]Plant/Count"], [n + 1])"""
MESSAGES = {
    "messageHandlers": [
        {
            "messageType": "count-it",
            "pageScope": True,
            "sessionScope": False,
            "viewScope": False,
            "script": "\tself.custom.heard = payload['n']",
        }
    ]
}
MAIN = view(
    label("Count", 'concat("now ", {[default]Plant/Count}, if({[default]Plant/Online}, " up", " down"))'),
    {
        "type": "ia.display.table",
        "meta": {"name": "Table"},
        "props": {"data": [], "selection": {}},
        "propConfig": {
            "props.data": {"binding": {"type": "tag", "config": {"mode": "direct", "tagPath": "[default]Plant/Queue"}}}
        },
    },
    label("Chosen", 'coalesce({../Table.props.selection.selectedRow}, "nothing")'),
    {
        "type": "ia.input.text-field",
        "meta": {"name": "Note"},
        "props": {"text": ""},
        "propConfig": {
            "props.text": {
                "binding": {"type": "property", "config": {"path": "view.custom.note", "bidirectional": True}}
            }
        },
    },
    label("Echo", "upper({view.custom.note})"),
    button("More", MORE),
    button("Poll", "plant.queue.poll()"),
    button("Broken", "nobody.knows()"),
    button("Open", 'system.perspective.openPopup("one", "Popup", params={"id": 7}, title="One", modal=True)'),
    button("Tell", 'system.perspective.sendMessage("count-it", {"n": 5}, scope="page")'),
    button("Sign", 'system.perspective.authenticationChallenge(forceAuth=True, timeout=1, payload={"id": 7})'),
    label("Heard", 'coalesce({this.custom.heard}, "not yet")', scripts=MESSAGES, custom={"heard": None}),
    label("Signed", 'coalesce({session.custom.signed}, "by nobody")'),
    {
        "type": "ia.display.flex-repeater",
        "meta": {"name": "Cards"},
        "props": {"path": "Card", "instances": [{"n": 1}, {"n": 2}]},
    },
    label(
        "Mapped",
        "1",
        propConfig={
            "props.text": {
                "binding": {
                    "type": "tag",
                    "config": {"mode": "direct", "tagPath": "[default]Plant/Count"},
                    "transforms": [
                        {
                            "type": "map",
                            "inputType": "range",
                            "outputType": "scalar",
                            "fallback": "many",
                            "mappings": [{"input": {"min": 0, "max": 4, "exclusiveMax": True}, "output": "few"}],
                        },
                        {"type": "script", "code": "\treturn value + '!'"},
                    ],
                }
            }
        },
    ),
    custom={"note": "hello"},
)
CARD = view(label("N", "{view.params.n} * 10"), params={"n": 0})
POPUP = view(label("Id", "{view.params.id}"), button("Close", 'system.perspective.closePopup("one")'), params={"id": 0})


def resource(folder: Path, name: str, content: str, **attributes: Any) -> None:
    folder.mkdir(parents=True)
    (folder / name).write_text(content)
    (folder / "resource.json").write_text(
        json.dumps({"scope": "G", "version": 1, "files": [name], "attributes": attributes})
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "Plant"
    perspective = folder / PERSPECTIVE
    folder.mkdir()
    (folder / "project.json").write_text('{"title": "Plant", "enabled": true}')
    for name, made in (("Main", MAIN), ("Card", CARD), ("Popup", POPUP)):
        resource(perspective / "views" / name, "view.json", json.dumps(made))
    pages = {"/": {"title": "Main", "viewPath": "Main"}, "/card/:n": {"title": "Card", "viewPath": "Card"}}
    resource(perspective / "page-config", "config.json", json.dumps({"pages": pages, "sharedDocks": {}}))
    resource(
        perspective / "session-props",
        "props.json",
        json.dumps({"custom": {"signed": None}, "props": {"theme": "light"}}),
    )
    resource(
        perspective / "style-classes/Plant/Big", "style.json", json.dumps({"base": {"style": {"fontSize": "20px"}}})
    )
    resource(folder / "ignition/script-python/plant/queue", "code.py", LIBRARY)
    resource(
        folder / "ignition/timer/poll",
        "handleTimerEvent.py",
        "def handleTimerEvent():\n\tplant.queue.poll()",
        delay=600_000,
    )
    resource(
        perspective / "auth-challenge",
        "onAuthChallengeCompleted.py",
        "def onAuthChallengeCompleted(session, payload, result):\n"
        "\tif result.isSuccess():\n"
        "\t\tuser = result.getAsSuccess().getContext().getUser()\n"
        "\t\tsession.custom.signed = '%s signed %d' % (user.get('username'), payload['id'])\n"
        "\telse:\n\t\tsession.custom.signed = 'failed: ' + str(result.getAsError())",
    )
    (tmp_path / "tags.json").write_text(json.dumps(TAGS))
    return folder


class Browser:
    """One tab, without a browser."""

    def __init__(self, url: str, user: str = "anna", path: str = "/") -> None:
        self.client = httpx.Client(base_url=url)
        assert self.post("/login", user=user, password=PASSWORD).status_code == 200
        self.page = ""
        opened = self.post("/open", path=path)
        assert opened.status_code == 200, opened.text
        self.page = opened.json()["page"]
        self.drawn: Any = None

    def post(self, where: str, **body: Any) -> httpx.Response:
        return self.client.post(where, json={"page": getattr(self, "page", ""), **body})

    def look(self) -> Any:
        self.drawn = self.client.get(f"/drawn?{self.page}&0").json()
        return self.drawn

    def find(self, name: str) -> dict[str, Any]:
        self.look()
        found = [one for one in _all(self.drawn) if one.get("name") == name]
        assert found, f"nothing is called {name}"
        return found[0]

    def text(self, name: str) -> Any:
        return self.find(name)["props"]["text"]

    def click(self, name: str) -> None:
        assert self.post("/event", id=self.find(name)["id"], event="component.onActionPerformed").status_code == 200

    def until(self, name: str, text: Any) -> None:
        end = time.monotonic() + 30
        while self.text(name) != text:
            assert time.monotonic() < end, f"{name} is {self.text(name)!r}, not {text!r}"
            time.sleep(0.02)


def _all(node: Any) -> list[dict[str, Any]]:
    found = [node] if isinstance(node, dict) and "type" in node else []
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        found += _all(one)
    return found


@pytest.fixture
def gateway(project: Path, tmp_path: Path):
    made = Gateway(project, [tmp_path / "tags.json"], USERS, {})
    server = Server(made, 0)
    server.start()
    yield made, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def tab(gateway):
    """Opens tabs, and closes them."""
    opened: list[Browser] = []

    def made(user: str = "anna", path: str = "/") -> Browser:
        opened.append(Browser(gateway[1], user, path))
        return opened[-1]

    yield made
    for one in opened:
        one.client.close()


def test_expressions_and_tags_are_computed(tab):
    """What is bound shows the tag's value, and the script's transform of it."""
    page = tab()
    assert page.text("Count") == "now 3 down"
    assert page.text("Mapped") == "few!"
    assert [one["props"]["text"] for one in _all(page.look()) if one.get("name") == "N"] == [10, 20]


def test_a_tag_that_a_script_writes_is_seen_in_every_session(tab):
    """One person clicks, the other's page has it."""
    anna, ben = tab(), tab("ben")
    anna.click("More")
    anna.until("Count", "now 4 down")
    ben.until("Count", "now 4 down")
    ben.until("Mapped", "many!")


def test_timers_and_the_library_fill_the_table(gateway, tab):
    """A timer of the gateway polls by itself; rows are chosen by a click, and others see the choice."""
    made, _ = gateway
    page = tab()
    made.start()
    page.until("Count", "now 3 up")
    table = page.find("Table")
    assert table["props"]["data"][2] == {"id": 2, "text": "row 2"}
    page.post("/event", id=table["id"], write="props.selection.selectedRow", value=1)
    page.until("Chosen", 1)


def test_what_is_typed_follows_a_bidirectional_binding(tab):
    """A field, the view's own property, and a label that reads it."""
    page = tab()
    assert page.text("Echo") == "HELLO"
    page.post("/event", id=page.find("Note")["id"], write="props.text", value="salt")
    page.until("Echo", "SALT")


def test_popups_open_with_their_parameters_and_close(tab):
    """A view in a window of its own."""
    page = tab()
    page.click("Open")
    page.until("Id", 7)
    assert page.drawn["popups"][0]["options"] == {"title": "One", "modal": True}
    page.click("Close")
    assert page.look()["popups"] == []


def test_messages_reach_who_listens(tab):
    """A component hears what another one says."""
    page = tab()
    page.click("Tell")
    page.until("Heard", 5)


def test_a_challenge_ends_with_who_it_was(tab):
    """Another person may sign than the one who is logged in; a wrong password signs nothing."""
    page = tab()
    page.click("Sign")
    asked = page.look()["challenge"]
    assert asked["force"]
    assert "do not belong" in page.post("/answer", id=asked["id"], user="ben", password="wrong").json()["error"]
    assert page.text("Signed") == "by nobody"
    assert page.post("/answer", id=asked["id"], user="ben", password=PASSWORD).json() == {}
    page.until("Signed", "ben signed 7")
    assert page.post("/answer", id=asked["id"], user="ben", password=PASSWORD).json()["error"]


def test_a_challenge_that_is_left_signs_nothing(tab):
    """Cancel is an error to the event script."""
    page = tab()
    page.click("Sign")
    page.post("/answer", id=page.look()["challenge"]["id"])
    page.until("Signed", "failed: cancelled")


def test_a_script_that_fails_is_shown_with_its_place(tab):
    """Nobody has to look into a log to see that a view is wrong."""
    page = tab()
    page.click("Broken")
    assert page.look()["complaints"] == {"Main/Broken.onActionPerformed": "NameError: name 'nobody' is not defined"}


def test_a_page_with_a_parameter_is_found(gateway, tab):
    """`/card/:n` gives the view its parameter; a page that is not there is told."""
    assert tab(path="/card/4").text("N") == 40
    with httpx.Client(base_url=gateway[1]) as client:
        client.post("/login", json={"user": "anna", "password": PASSWORD})
        lost = client.post("/open", json={"path": "/nowhere"})
    assert (lost.status_code, "/card/:n" in lost.json()["error"]) == (404, True)


def test_nobody_looks_without_logging_in(gateway):
    """Name and password of the bench's provider."""
    with httpx.Client(base_url=gateway[1]) as client:
        assert client.post("/open", json={"path": "/"}).status_code == 401
        assert client.post("/login", json={"user": "anna", "password": "wrong"}).status_code == 401


def test_a_network_that_is_down_is_an_exception_to_scripts(gateway):
    """As Java's: the library catches it by the name that Jython code uses."""
    made, _ = gateway
    assert made.known["plant"].queue.ask("http://127.0.0.1:9/") == 0


def test_a_status_that_is_no_success_does_not_raise(gateway):
    """404 is an answer, not an exception."""

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert gateway[0].known["plant"].queue.ask(f"http://127.0.0.1:{server.server_address[1]}/") == 404
    finally:
        server.shutdown()
        server.server_close()


def test_styles_carry_perspectives_prefix(gateway):
    """A style class is found by the name under which Perspective writes it."""
    assert httpx.get(f"{gateway[1]}/styles.css").text.strip() == ".psc-Plant\\/Big {font-size:20px}"


def test_a_folder_that_is_no_project_is_refused(tmp_path):
    """The error names what is missing."""
    with pytest.raises(ProjectError, match=r"project\.json"):
        Gateway(tmp_path, [], USERS, {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ('"a" + 1', "a1"),
        ("10 / 4", 2.5),
        ("7 % 4", 3),
        ("2 ^ 3", 8),
        ("-3 + 1", -2),
        ("!true || 1 < 2 && 'x' = \"x\"", True),
        ("if(isNull({gone}), 'no', 'yes')", "no"),
        ("switch(2, 1, 2, 'a', 'b', 'c')", "b"),
        ("numberFormat(1234.5, '#,##0.00')", "1,234.50"),
        ("dateFormat({at}, 'yyyy-MM-dd HH:mm')", "2026-11-26 08:05"),
        ("{rows}[1]['n']", 2),
        ("len({rows})", 2),
        ("toStr(true) + null", "truenull"),
        ("secondsBetween({at}, {later})", 90),
    ],
)
def test_the_expression_language(text, value):
    """Operators by their strength, functions by their names."""
    known = {"at": "2026-11-26T08:05:00Z", "later": "2026-11-26T08:06:30Z", "rows": [{"n": 1}, {"n": 2}]}
    assert evaluate(text, known.get) == value


@pytest.mark.parametrize("text", ["1 +", "nothing(1)", "(1", "1 2", "@", "x"])
def test_an_expression_that_is_wrong_is_told(text):
    """Nothing is guessed."""
    with pytest.raises(ExpressionError):
        evaluate(text, lambda _: None)
