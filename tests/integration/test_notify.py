"""People are told by every channel of their role: each once where it can be, and nobody is left out for another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from agent.access.envelope import verify
from agent.erp.notify import NotifyConfig
from agent.errors import ErpRejected, ErpUnavailable
from agent.ports import Kind
from simulators.receivers.hook import Hook, hook
from simulators.receivers.mailbox import Mailbox, mailbox
from tests.conformance.test_told_targets import COLD, NOTIFICATION, NOW, frozen, made

PEOPLE = {"planner": ["web", "post:planning@plant.test"], "shift_lead": ["post:shift@plant.test"]}


def people(web: Hook, box: Mailbox, **more: Any) -> Any:
    channels = {
        "web": {"kind": "webhook", "url": web.url + "?room=7", "secret": {"secret": "hook"}},
        "post": {
            "kind": "mail", "host": "127.0.0.1", "port": box.port, "security": "none", "sender": "gp@plant.test",
        },
    }  # fmt: skip
    settings = {"channels": channels, "people": PEOPLE, "otherwise": "shift_lead", "link": "https://gp.test/console/"}
    return made("notify", settings | more)


def told(target: Any, number: int = 1, **changes: Any) -> Any:
    payload: Mapping[str, Any] = {**NOTIFICATION, **changes}
    return frozen(target, Kind.NOTIFICATION, payload, number)


async def test_every_channel_of_the_role_says_the_same():
    """The webhook is signed over time, key and body; the mail has the key as Message-ID, and both the link."""
    async with hook() as web, mailbox() as box:
        target = people(web, box)
        one = told(target)
        answer = await target.post(one)
        assert (answer.document, answer.warnings) == (f"post+web/{one.idempotency_key}", ())
        (posted,), (mail,) = web.posted, box.mails
        assert posted.path == "/told?room=7"
        stamp, signature = (posted.headers[f"x-gatepost-{name}"] for name in ("timestamp", "signature"))
        verify("s3cret-hook", stamp, signature, one.idempotency_key, posted.body, NOW)
        assert b"https://gp.test/console/#/held/7" in posted.body
        assert mail["Message-ID"] == f"<{one.idempotency_key}@plant.test>"
        assert (mail["Subject"], mail["To"]) == ("[warning] Order 1000100 cannot start", "planning@plant.test")
        assert "RM-RESIN: 500 KG needed" in mail.get_content()
        assert "https://gp.test/console/#/held/7" in mail.get_content()


async def test_one_channel_that_does_not_work_keeps_nobody_else_waiting():
    """The others are told at once; only the lane of this message waits, and what was told is not told again."""
    async with hook() as web, mailbox() as box:
        target = people(web, box)
        one = told(target)
        box.fault = "down"
        with pytest.raises(ErpUnavailable) as error:
            await target.post(one)
        assert error.value.scope == "lane"
        assert str(error.value).startswith("post: mail server 127.0.0.1")
        assert target.status()["channels"]["web"] == "ok"
        assert len(web.posted) == 1
        await target.post(one)
        assert (len(web.posted), len(box.mails)) == (1, 1)


async def test_what_one_channel_refuses_and_another_takes_is_told_with_a_warning():
    """Somebody knows; that not everybody does stands on record."""
    async with hook() as web, mailbox() as box:
        target = people(web, box)
        web.fault = "410"
        answer = await target.post(told(target))
        assert answer.document.startswith("post/")
        assert "410" in answer.warnings[0]
        box.unknown = frozenset(["planning@plant.test"])
        web.fault = "410"
        with pytest.raises(ErpRejected):
            await target.post(told(target, 2))


async def test_a_web_address_that_is_busy_says_how_long_and_one_that_leads_elsewhere_is_not_followed():
    """429 waits as long as it is told to; a redirect is a refusal: the message goes where the configuration says."""
    async with hook() as web, hook() as elsewhere, mailbox() as box:
        target = people(web, box, people={"shift_lead": ["web"]})
        web.fault, web.retry_after = "429", "7"
        with pytest.raises(ErpUnavailable) as busy:
            await target.post(told(target, to=["shift_lead"]))
        assert (busy.value.retry_after, busy.value.scope) == (7.0, "lane")
        for status in ("302", "308"):
            web.fault, web.location = status, elsewhere.url
            with pytest.raises(ErpRejected, match=f"answers {status}"):
                await target.post(told(target, 2, to=["shift_lead"]))
        assert (web.posted, elsewhere.posted) == ([], [])


async def test_a_receiver_that_is_refused_is_a_warning_where_others_are_not():
    """One mail for all addresses of a role; the mail server takes two of three."""
    async with hook() as web, mailbox() as box:
        box.unknown = frozenset(["gone@plant.test"])
        both = ["post:a@plant.test", "post:gone@plant.test", "post:b@plant.test"]
        target = people(web, box, people={"shift_lead": both})
        answer = await target.post(told(target, to=["shift_lead"]))
        assert answer.warnings == ("gone@plant.test: refused by the mail server (550 nobody here has that name)",)
        assert len(box.mails) == 1


async def test_a_role_that_nobody_has_is_told_to_the_one_who_is_there_otherwise():
    """Never to nobody."""
    async with hook() as web, mailbox() as box:
        target = people(web, box)
        answer = await target.post(told(target, to=["quality"]))
        assert answer.warnings == ("nobody has the role quality here: told to shift_lead",)
        assert [one["To"] for one in box.mails] == ["shift@plant.test"]


async def test_a_subject_adds_no_line_to_the_head_of_a_mail_and_a_long_text_is_cut():
    """Whatever a lot number contains; better a cut text than none."""
    async with hook() as web, mailbox() as box:
        target = people(web, box)
        await target.post(told(target, subject="lot 7\r\nBcc: all@plant.test", text="x" * 9000))
        (mail,) = box.mails
        assert mail["Bcc"] is None
        assert mail["Subject"] == "[warning] lot 7 Bcc: all@plant.test"
        assert "xxx…" in mail.get_content()


@pytest.mark.parametrize(
    ("link", "base", "sent"),
    [
        ("#/held/7", "https://gp.test/console/", "https://gp.test/console/#/held/7"),
        ("order:1000100", "https://gp.test/console/", "https://gp.test/console/#/trace/order%3A1000100"),
        ("https://mes.test/7", "https://gp.test/console/", "https://mes.test/7"),
        ("order:1000100", "", "order:1000100"),
        ("", "https://gp.test/console/", ""),
    ],
)
def test_a_link_leads_into_the_console_where_it_has_no_host(link: str, base: str, sent: str):
    """A page of the console, or what `gatepost trace` finds; without a console its name alone."""
    target = made("notify", {**COLD["notify"][3], "link": base})
    assert json.loads(told(target, link=link).wire)["link"] == sent


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"otherwise": "nobody"}, "there is no role 'nobody'"),
        ({"people": {"planner": []}}, "planner has no address"),
        ({"people": {"planner": ["fax:1"]}}, "there is no channel 'fax'"),
        ({"people": {"planner": ["web:here"]}}, "a webhook has no addresses"),
        ({"people": {"planner": ["post:nobody"]}}, "no mail address"),
        ({"people": {"planner": ["panel:a/#"]}}, "no topic to publish on"),
    ],
)
def test_an_address_that_reaches_nobody_is_refused_before_anything_runs(change: dict[str, Any], said: str):
    """The error names the role and what is wrong."""
    settings: dict[str, Any] = {
        "name": "people",
        "channels": {
            "web": {"kind": "webhook", "url": "https://chat.test/x"},
            "post": {"kind": "mail", "host": "mail.test", "sender": "a@plant.test"},
            "panel": {"kind": "mqtt", "brokers": ["mqtt://broker.test"]},
        },
        "people": {"planner": ["web"]},
        "otherwise": "planner",
    }
    with pytest.raises(ValidationError, match=said):
        NotifyConfig.model_validate(settings | change)
