"""The console of a running agent: who may come in, and a person who decides in a real browser."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi.routing import APIRoute
from playwright.async_api import Browser, Page, async_playwright, expect

from agent.access import users
from agent.access.passwords import hashed
from agent.access.tokens import Scope
from agent.access.users import User
from agent.web import acts
from agent.web.console.site import static
from tests.api_bench import Bench, bench, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
PASSWORD = "correct horse battery"
PEOPLE = {
    "anna": ("Anna Berg", (Scope.READ, Scope.APPROVE, Scope.REPLAY, Scope.PAUSE)),
    "ben": ("Ben Alt", (Scope.READ, Scope.APPROVE)),
    "vera": ("Vera Neu", (Scope.READ,)),
    "olga": ("Olga Ohm", (Scope.READ, Scope.APPROVE, Scope.ADMIN)),
    "sam": ("Sam Sum", (Scope.READ, Scope.APPROVE, Scope.ADMIN)),
    "mia": ("Mia May", (Scope.ADMIN,)),
}
ROLES = {"anna": ("Supervisor",), "ben": ("Supervisor",), "olga": ("Operator",), "mia": ("Manager",)}
RIGHTS = [
    {"role": "Supervisor", "modules": ["MM", "PP"], "actions": ["approve", "refuse", "correct"]},
    {"role": "Operator", "modules": ["MM"], "actions": ["refuse"]},
    {"role": "Manager", "modules": ["MM", "PP"], "actions": ["replay", "reverse", "pause", "promote"]},
    {"role": "approve", "modules": ["MM"], "actions": ["approve"]},  # as a scope is called; nobody here has it
]
SCRIPT = "<img src=x onerror=\"document.title='taken'\">"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("plant")
    (folder / "data").mkdir()
    known = [
        User(name=name, full_name=full, password=hashed(PASSWORD), scopes=scopes, roles=ROLES.get(name, ()))
        for name, (full, scopes) in PEOPLE.items()
    ]
    users.write(folder / "data" / users.FILE, known)
    async with bench(folder, api={"rate_per_second": 2000}, rights=RIGHTS) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium here; `.ci/need chromium` installs it")
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        await browser.close()


async def login(plant: Bench, name: str = "anna", password: str = PASSWORD) -> httpx.Response:
    async with httpx.AsyncClient(base_url=plant.url) as client:
        return await client.post("/console/login", json={"user": name, "password": password})


async def entered(plant: Bench, name: str = "anna") -> dict[str, str]:
    """The headers with which the page of this person asks."""
    answer = await login(plant, name)
    assert answer.status_code == 200, answer.text
    ((cookie, value),) = answer.cookies.items()
    return {"cookie": f"{cookie}={value}", "x-gatepost-console": answer.json()["page"]}


async def held(plant: Bench, id: str) -> dict[str, Any]:
    assert (await plant.report(id)).status_code == 202

    async def found() -> dict[str, Any] | None:
        items = (await plant.get("/v1/approvals?limit=500"))["items"]
        return next((one for one in items if one["payload"]["text"] == id), None)

    waiting = await until(found)
    shown: dict[str, Any] = await plant.get(f"/v1/approvals/{waiting['id']}")
    return shown


def signing(one: dict[str, Any], decision: str = "approve", **changes: Any) -> dict[str, Any]:
    return {
        "id": one["id"], "version": one["version"], "decision": decision, "shown_sha256": one["shown_sha256"],
        "reason": "weighed again", "password": PASSWORD, **changes,
    }  # fmt: skip


async def sign(plant: Bench, headers: dict[str, str], body: dict[str, Any]) -> httpx.Response:
    return await plant.client.post("/console/sign", headers=headers, json=body)


# ── the door ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_page_is_open_and_loads_nothing_from_elsewhere(plant):
    """Without a login there is the page and nothing else; a strict policy keeps foreign scripts out."""
    page = await plant.client.get("/")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "'unsafe-" not in page.headers["content-security-policy"]
    for path, (content, _) in static().items():
        assert not re.search(rb"https?://(?!www\.w3\.org/)", content), path
        assert b"innerHTML" not in content, path
        assert (await plant.client.get(path)).content == content
    assert (await plant.client.get("/v1/status")).status_code == 401
    assert (await plant.client.get("/console/../settings.py")).status_code == 401


async def test_the_cookie_is_kept_from_scripts_and_from_other_sites(plant):
    """HttpOnly and SameSite=Strict."""
    cookie = (await login(plant)).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert "secure" not in cookie.lower(), "without TLS a browser would not send it back"


async def test_behind_a_proxy_that_speaks_tls_the_cookie_is_for_tls_only(plant):
    """What the page was loaded by, the browser says in Origin."""
    body = {"user": "anna", "password": PASSWORD}
    answer = await plant.client.post("/console/login", json=body, headers={"origin": "https://gatepost.example"})
    assert "secure" in answer.headers["set-cookie"].lower()


async def test_a_cookie_without_the_pages_secret_opens_nothing(plant):
    """A foreign page can make a browser send the cookie, and nothing happens."""
    headers = await entered(plant)
    assert (await plant.client.get("/v1/status", headers=headers)).status_code == 200
    assert (await plant.client.get("/v1/status", headers={"cookie": headers["cookie"]})).status_code == 401
    one = await held(plant, "X-1")
    answer = await sign(plant, {"cookie": headers["cookie"]}, signing(one))
    assert answer.status_code == 401
    assert (await plant.get(f"/v1/approvals/{one['id']}"))["state"] == "held"


async def test_a_wrong_password_is_refused_and_stands_in_the_trail(plant):
    """A login that failed is an alarm, without the password."""
    answer = await login(plant, "anna", "wrong horse battery")
    assert answer.status_code == 401
    assert not answer.cookies
    rows = (await plant.get("/v1/audit?alarms=true&limit=50"))["items"]
    (refused,) = [row for row in rows if row["action"] == "console_login_refused"]
    assert refused["detail"] == {"user": "anna", "client": "127.0.0.1", "error": "wrong_password"}
    assert "wrong horse" not in str(rows)


async def test_logging_out_ends_it(plant):
    """The same headers open nothing afterwards, and that is on record."""
    headers = await entered(plant)
    assert (await plant.client.post("/console/logout", headers=headers, json={})).status_code == 200
    assert (await plant.client.get("/v1/status", headers=headers)).status_code == 401
    rows = (await plant.get("/v1/audit?limit=500"))["items"]
    acts = [(row["action"], row["detail"].get("session")) for row in rows if row["action"].startswith("console_log")]
    assert [("console_login", acts[-1][1]), ("console_logout", acts[-1][1])] == acts[-2:]


# ── signatures ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_signature_needs_the_password_once_more(plant):
    """An open session alone signs nothing; with the password it does, and the trail says who and through what."""
    headers, one = await entered(plant), await held(plant, "X-2")
    refused = await sign(plant, headers, signing(one, password="wrong horse battery"))
    assert refused.status_code == 401
    assert (await plant.get(f"/v1/approvals/{one['id']}"))["state"] == "held"
    assert (await sign(plant, headers, signing(one))).json()["by"] == "anna"
    history = (await plant.get(f"/v1/trace/posting:{one['id']}"))["history"]
    (signed,) = [row for row in history if row["action"] == "approved"]
    assert signed["actor"] == "anna"
    assert signed["detail"]["session"].startswith("console session ")
    assert signed["detail"]["record_sha256"] == one["record_hash"]


async def test_a_signature_for_another_record_is_void(plant):
    """What was shown is what is signed: the hash of a list's payload, or that of the whole record on its page."""
    headers, one = await entered(plant), await held(plant, "X-3")
    answer = await sign(plant, headers, signing(one, shown_sha256="0" * 64))
    assert answer.status_code == 409
    page = await plant.get(f"/v1/approvals/{one['id']}")
    assert page["state"] == "held"
    assert (await sign(plant, headers, signing(one, shown_sha256=page["shown_sha256"]))).status_code == 200


async def test_who_may_only_look_signs_nothing(plant):
    """Rights are those of the user, and the refusal is on record."""
    headers, one = await entered(plant, "vera"), await held(plant, "X-4")
    assert (await sign(plant, headers, signing(one))).status_code == 403
    assert (await plant.get(f"/v1/approvals/{one['id']}"))["state"] == "held"


async def test_a_role_that_may_only_refuse_approves_nothing(plant):
    """The console asks for the same rights as a gateway; what was refused is on record."""
    headers, one = await entered(plant, "olga"), await held(plant, "X-8")
    answer = await sign(plant, headers, signing(one))
    assert (answer.status_code, answer.json()["error"]) == (403, "no_right")
    assert (await plant.get(f"/v1/approvals/{one['id']}"))["state"] == "held"
    rows = (await plant.get("/v1/audit?alarms=true&limit=20"))["items"]
    assert any(row["action"] == "signature_refused" and row["detail"].get("signer") == "olga" for row in rows)
    assert (await sign(plant, headers, signing(one, "refuse"))).status_code == 200


async def test_a_correction_takes_the_place_of_what_was_held(plant):
    """Another quantity, signed: the old posting is superseded, the new one is booked."""
    headers, one = await entered(plant), await held(plant, "X-9")
    answer = await sign(plant, headers, signing(one, "correct", changes={"quantity": "12.4"}))
    assert answer.status_code == 200, answer.text
    assert (await plant.get(f"/v1/approvals/{one['id']}"))["state"] == "superseded"
    booked = await until(lambda: _acknowledged(plant, answer.json()["id"]))
    assert booked["payload"]["quantity"] == "12.4"


async def test_a_scope_is_no_role(plant):
    """Who has the scope `approve` has not the role that somebody called `approve`."""
    headers, one = await entered(plant, "sam"), await held(plant, "X-11")
    answer = await sign(plant, headers, signing(one))
    assert (answer.status_code, answer.json()["error"]) == (403, "no_right")


async def test_a_session_that_stands_open_decides_at_no_other_door(plant):
    """The API's own approve and refuse ask for no password and no record: a console session is sent to sign."""
    headers, one = await entered(plant, "anna"), await held(plant, "X-10")
    body = {"expected_version": one["version"], "reason": "nobody is at the desk"}
    for act in ("approve", "refuse"):
        answer = await plant.client.post(f"/v1/approvals/{one['id']}/{act}", headers=headers, json=body)
        assert (answer.status_code, answer.json()["error"]) == (403, "signature_needed")
    assert (await plant.get(f"/v1/approvals/{one['id']}"))["state"] == "held"


async def test_who_comes_second_hears_who_was_first(plant):
    """Two people at two desks: one decides, the other gets 409 with the name."""
    anna, ben, one = await entered(plant, "anna"), await entered(plant, "ben"), await held(plant, "X-5")
    first, second = await asyncio.gather(sign(plant, anna, signing(one)), sign(plant, ben, signing(one, "refuse")))
    won, lost = (first, second) if first.status_code == 200 else (second, first)
    assert (won.status_code, lost.status_code) == (200, 409)
    assert lost.json()["decided_by"] == won.json()["by"]


# ── every other act ─────────────────────────────────────────────────────────────────────────────────────────


ACTS: dict[str, dict[str, Any]] = {
    "/v1/pause": {"scope": "target", "key": "s4"},
    "/v1/resume": {"scope": "target", "key": "s4"},
    "/v1/doubtful/{id}/not-booked": {},
    "/v1/deadletters/{id}/replay": {},
    "/v1/deadletters/{id}/refuse": {},
    "/v1/doubtful/{id}/document": {"document": "2026/1"},
    "/v1/quarantine/1/replay": {},
    "/v1/models/consumption_anomaly/promote": {"version": "1"},
    "/v1/models/consumption_anomaly/rollback": {},
}


async def act(
    plant: Bench, headers: dict[str, str], path: str, body: dict[str, Any], password: str = PASSWORD, proven: str = ""
) -> httpx.Response:
    """What a page does: the password for this act, then the act."""
    asked = {"path": proven or path, "password": password}
    answer = await plant.client.post("/console/prove", headers=headers, json=asked)
    if answer.status_code != 200:
        return answer
    headers = {**headers, "x-gatepost-proof": answer.json()["proof"]}
    return await plant.client.post(path, headers=headers, json={"reason": "because", **body})


async def test_no_act_is_done_by_an_open_session_alone(plant):
    """Every act of the API wants the password once more from who is at the console, whatever they may do."""
    headers = await entered(plant, "mia")
    posts = [one.path for one in acts.router.routes if isinstance(one, APIRoute)]
    assert len(posts) > 12
    for path in posts:
        answer = await plant.client.post(
            path.format(id=1, event=1, name="x"), headers=headers, json={"reason": "x", "expected_version": 1}
        )
        assert (answer.status_code, answer.json()["error"]) == (403, "signature_needed"), path
    assert (await plant.get("/v1/status"))["paused"] == []


async def test_the_password_is_good_for_one_act_only(plant):
    """A wrong one proves nothing and is an alarm; that for another act neither; the right one counts once."""
    mia = await entered(plant, "mia")
    answer = await act(plant, mia, "/v1/pause", ACTS["/v1/pause"], password="wrong horse battery")
    assert answer.status_code == 401
    rows = (await plant.get("/v1/audit?alarms=true&limit=500"))["items"]
    assert rows[-1]["action"] == "act_refused"
    assert rows[-1]["detail"] == {"user": "mia", "client": "127.0.0.1", "error": "wrong_password"}
    answer = await act(plant, mia, "/v1/pause", ACTS["/v1/pause"], proven="/v1/resume")
    assert (answer.status_code, answer.json()["error"]) == (403, "signature_needed")
    done = await act(plant, mia, "/v1/pause", ACTS["/v1/pause"])
    assert (done.status_code, done.json()["by"]) == (200, "mia"), done.text
    again = await plant.client.post("/v1/pause", headers=dict(done.request.headers), content=done.request.content)
    assert (again.status_code, again.json()["error"]) == (403, "signature_needed")
    assert (await act(plant, mia, "/v1/resume", ACTS["/v1/resume"])).status_code == 200
    rows = (await plant.get("/v1/audit?limit=500"))["items"]
    logon = [row["detail"]["session"] for row in rows if (row["action"], row["actor"]) == ("console_login", "mia")][-1]
    acts_ = {row["action"]: row["detail"].get("session") for row in rows if row["action"] in ("paused", "resumed")}
    assert acts_ == dict.fromkeys(("paused", "resumed"), f"console session {logon}")  # so acts of one logon are tied


@pytest.mark.parametrize("name", ["olga", "sam"])
async def test_who_has_the_scope_and_not_the_right_does_nothing(plant, name):
    """A role without the right, and nobody's role: pause, doubt, dead letters, models are refused, each on record."""
    somebody, one = await entered(plant, name), await held(plant, f"X-2{len(name)}")
    for path, body in ACTS.items():
        answer = await act(plant, somebody, path.format(id=one["id"]), body)
        assert (answer.status_code, answer.json()["error"]) == (403, "no_right"), path
    rows = (await plant.get("/v1/audit?alarms=true&limit=500"))["items"]
    refused = [row["detail"] for row in rows if (row["action"], row["actor"]) == ("act_refused", name)]
    assert {row["decision"] for row in refused} == {"pause", "replay", "promote"}
    assert len(refused) == len(ACTS)
    answer = await act(plant, await entered(plant, "mia"), f"/v1/doubtful/{one['id']}/not-booked", {})
    assert answer.status_code == 409, "who may is told that it is held"


async def test_taking_back_a_document_needs_the_right_too(plant):
    """Who may approve it may not take it back; who may does so with the password."""
    headers, one = await entered(plant), await held(plant, "X-30")
    assert (await sign(plant, headers, signing(one))).status_code == 200
    document = (await until(lambda: _acknowledged(plant, one["id"])))["document"]
    answer = await act(plant, await entered(plant, "olga"), "/v1/reversals", {"document": document})
    assert (answer.status_code, answer.json()["error"]) == (403, "no_right")
    assert (await act(plant, await entered(plant, "mia"), "/v1/reversals", {"document": document})).status_code == 200


# ── what the pages need ─────────────────────────────────────────────────────────────────────────────────────


async def test_history_models_and_the_whole_trail_can_be_asked(plant):
    """Each page's own question has an answer in the API."""
    await until(lambda: _points(plant))
    assert (await plant.get("/v1/models")) == {"items": []}
    verified = await plant.get("/v1/audit/verify")
    assert verified["ok"]
    assert verified["broken"] is None
    exported = await plant.ask("GET", "/v1/audit/export")
    lines = exported.text.splitlines()
    assert len(lines) >= verified["rows"]
    assert '"seq": 1,' in lines[0]


async def _points(plant: Bench) -> list[Any]:
    points: list[Any] = (await plant.get("/v1/history"))["items"]
    return points


# ── in a browser ────────────────────────────────────────────────────────────────────────────────────────────


expect.set_options(timeout=60_000)  # a busy machine is no defect


async def at_the_console(plant: Bench, chromium: Browser, name: str) -> tuple[Page, list[str]]:
    """A browser in which this person has logged in, and what it complained of."""
    page = await (await chromium.new_context()).new_page()
    page.set_default_timeout(60_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    await page.goto(plant.url)
    await page.get_by_label("User").fill(name)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    return page, complaints


async def test_a_person_approves_in_a_browser_and_another_sees_by_whom(plant, chromium):
    """Held, shown in two open browsers, signed in one; the document is in SAP's books, the trace shows all of it."""
    one = await held(plant, "X-6")
    anna, complaints = await at_the_console(plant, chromium, "anna")
    ben, _ = await at_the_console(plant, chromium, "ben")
    for page in (anna, ben):
        await page.get_by_role("link", name="Held").first.click()
        await page.get_by_role("link", name=str(one["id"]), exact=True).click()
        await expect(page.get_by_role("button", name="Approve…")).to_be_visible()
    await ben.get_by_role("button", name="Refuse…").click()
    await anna.get_by_role("button", name="Approve…").click()
    await anna.get_by_label("Reason").fill("weighed again")
    await anna.get_by_label("Your password").fill(PASSWORD)
    await anna.get_by_role("button", name="Sign and approve").click()
    await ben.get_by_label("Reason").fill("reported twice")
    await ben.get_by_label("Your password").fill(PASSWORD)
    await ben.get_by_role("button", name="Sign and refuse").click()
    await expect(ben.get_by_role("dialog")).to_contain_text("by anna")
    booked = await until(lambda: _acknowledged(plant, one["id"]))
    await anna.get_by_role("link", name=re.compile("^trace event")).click()
    life = anna.locator("ol.life")
    await expect(life).to_contain_text("approved by anna")
    await expect(life).to_contain_text("weighed again")
    await expect(anna.locator("main")).to_contain_text(booked["document"])
    assert complaints == []


async def _acknowledged(plant: Bench, id: int) -> dict[str, Any] | None:
    one: dict[str, Any] = await plant.get(f"/v1/approvals/{id}")
    return one if one["state"] == "acknowledged" else None


async def test_the_page_offers_no_act_that_no_role_grants(plant):
    """`admin` holds every scope, and a role that only refuses or sends again no other act."""
    offered = {name: set((await login(plant, name)).json()["scopes"]) for name in ("mia", "olga", "vera")}
    assert offered["mia"] == {"read", "replay", "pause", "reverse", "ingest", "gateway", "admin"}
    assert offered["olga"] == {"read", "approve", "ingest", "gateway"}  # it may refuse
    assert offered["vera"] == {"read"}


async def test_only_what_a_role_may_do_is_offered(plant, chromium):
    """Who may only refuse sees no button for what would be refused after the password, and reads why."""
    one = await held(plant, "X-29")
    page, complaints = await at_the_console(plant, chromium, "olga")
    await page.goto(f"{plant.url}/#/held/{one['id']}")
    await expect(page.get_by_role("button", name="Refuse…")).to_be_visible()
    await expect(page.locator("main")).to_contain_text("Your roles may refuse it, and not approve.")
    assert await page.get_by_role("button", name="Approve…").count() == 0
    assert complaints == []


async def test_a_person_pauses_a_target_with_the_password_and_lets_it_go_on(plant, chromium):
    """A wrong password changes nothing and says so in the dialog; the right one stops it, and lets it go on again."""
    page, _ = await at_the_console(plant, chromium, "mia")
    for button, verb, password in (("pause", "Pause", "wrong horse battery"), ("pause", "Pause", PASSWORD)):
        await page.get_by_role("button", name=button, exact=True).click()
        await page.get_by_label("Reason").fill("maintenance of the ERP")
        await page.get_by_label("Your password").fill(password)
        await page.get_by_role("button", name=verb, exact=True).click()
        if password != PASSWORD:
            await expect(page.get_by_role("dialog")).to_contain_text("do not belong together")
            await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("button", name="go on", exact=True).click()
    assert [one["by"] for one in (await plant.get("/v1/status"))["paused"]] == ["mia"]
    await page.get_by_label("Reason").fill("it is back")
    await page.get_by_label("Your password").fill(PASSWORD)
    await page.get_by_role("button", name="Go on", exact=True).click()
    await expect(page.get_by_text("nothing is paused, no order is blocked")).to_be_visible()


async def test_what_comes_from_the_floor_is_text_on_every_page(plant, chromium):
    """A lot number that is a script is shown letter by letter, in the quarantine too."""
    await plant.report("X-7", batch=SCRIPT[:10], order=SCRIPT)
    page, complaints = await at_the_console(plant, chromium, "anna")
    await page.get_by_role("link", name="Quarantine").first.click()
    await expect(page.get_by_role("table")).to_contain_text("onerror")
    await page.locator("tbody a").first.click()
    await expect(page.locator("pre")).to_contain_text("onerror")
    assert await page.title() == "Quarantine · Gatepost"
    assert complaints == []


async def test_on_a_phone_a_long_name_leaves_room_for_what_it_names(chromium):
    """The fields of a defect are called so long that their values stood letter under letter."""
    style = static()["/console/console.css"][0].decode()
    page = await chromium.new_page(viewport={"width": 390, "height": 400})
    named = "<dl><dt>defect 8: ManufacturingOrderOperation</dt><dd>2026-11-27</dd></dl>"
    await page.set_content(f"<style>{style}</style><main><section class='card'>{named}</section></main>")
    assert await page.locator("dd").evaluate("one => one.clientWidth") > 120
    await page.close()


async def test_a_session_that_has_ended_leads_back_to_the_door(plant, chromium):
    """Nobody stares at a dead page: the next question shows the login."""
    page, _ = await at_the_console(plant, chromium, "ben")
    await page.context.clear_cookies()
    await expect(page.get_by_role("button", name="Log in")).to_be_visible()
