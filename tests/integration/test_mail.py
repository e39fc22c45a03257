"""Mail over TLS, with logon, against a real server: whatever goes wrong, each receiver has it once it is well again."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from agent.access.secrets import SecretPlaces
from agent.channels.mail import Mail, MailConfig
from agent.channels.message import Message
from agent.errors import ErpInDoubt, ErpRejected, ErpUnavailable
from simulators.receivers.mailbox import Mailbox, mailbox
from tests.faults.test_mqtt_tls import DAY, Authority

USERS: Final = {"gatepost": "right"}
THREE: Final = ("a@plant.test", "b@plant.test", "c@plant.test")
SECURITY: Final = pytest.mark.parametrize("security", ["starttls", "tls"])


def message(id: str = "7H3KQ2M9T4XW8RBC") -> Message:
    return Message(id, "2026-11-20T14:00:05+00:00", "alarm", "No resin", "Look.", "", "short/1", ("planner",))


def channel(box: Mailbox, ca: Path | None = None, **changes: Any) -> Mail:
    settings: dict[str, Any] = {"kind": "mail", "host": "127.0.0.1", "port": box.port, "sender": "gp@plant.test"}
    settings |= {"security": "none"} if ca is None else {"ca_file": ca}
    if box.users:
        settings |= {"user": "gatepost", "password": {"secret": "mail"}}
    places = SecretPlaces.of({"GATEPOST_SECRET_MAIL": "right", "GATEPOST_SECRET_OLD": "wrong"})
    return Mail(MailConfig.model_validate(settings | changes, context={"secrets": places}))


@asynccontextmanager
async def secured(
    folder: Path, security: str, *, ends: timedelta = DAY, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[Mailbox, Path]]:
    """A server with a certificate of the plant's authority, at which `gatepost` may log on."""
    authority = Authority(folder / "pki", "plant")
    certificate = authority.issue("mail", ends=ends, host=host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    async with mailbox(context, starttls=security == "starttls", users=USERS) as box:
        yield box, authority.folder / "ca.pem"


@SECURITY
async def test_mail_goes_encrypted_with_logon(tmp_path: Path, security: str):
    """The server has it of the user, over TLS, for all receivers."""
    async with secured(tmp_path, security) as (box, ca):
        assert await channel(box, ca, security=security).send(message(), THREE) == ()
        (one,) = box.got
        assert (one.user, one.encrypted, one.receivers) == ("gatepost", True, THREE)


@SECURITY
async def test_a_wrong_password_is_named_and_nothing_is_sent(tmp_path: Path, security: str):
    """Who mends it finds the user in the sentence, never the password; it is tried again later."""
    async with secured(tmp_path, security) as (box, ca):
        wrong = channel(box, ca, security=security, password={"secret": "old"})
        with pytest.raises(ErpUnavailable, match=r"does not take user gatepost \(535\); check user and password") as no:
            await wrong.send(message(), THREE)
        assert (no.value.code, no.value.scope, "wrong" in str(no.value)) == ("not_authorised", "lane", False)
        assert box.got == []
        await channel(box, ca, security=security).send(message(), THREE)
        assert len(box.got) == 1


@SECURITY
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("expired", "certificate has expired"),
        ("wrong host", "not valid for '127.0.0.1'"),
        ("stranger", "verify failed"),
    ],
)
async def test_a_server_that_cannot_prove_who_it_is_hears_no_password(
    tmp_path: Path, security: str, fault: str, said: str
):
    """Expired, of another host, of an authority that nobody trusts: told why, and neither logon nor mail."""
    ends, host = (-DAY if fault == "expired" else DAY), ("mail.test" if fault == "wrong host" else "127.0.0.1")
    async with secured(tmp_path, security, ends=ends, host=host) as (box, ca):
        other = Authority(tmp_path / "other", "other").folder / "ca.pem"
        mail = channel(box, other if fault == "stranger" else ca, security=security)
        with pytest.raises(ErpUnavailable, match=said):
            await mail.send(message(), THREE)
        with pytest.raises(ErpUnavailable, match=said):
            await mail.reach()
        assert (box.got, box.heard) == ([], [])


async def test_a_server_without_starttls_gets_nothing(tmp_path: Path):
    """Somebody on the way may have left the offer out: nothing goes readably."""
    async with mailbox(users=USERS) as box:
        ca = Authority(tmp_path / "pki", "plant").folder / "ca.pem"
        with pytest.raises(ErpUnavailable, match="STARTTLS"):
            await channel(box, ca, security="starttls").send(message(), THREE)
        assert (box.got, box.heard) == ([], [])


async def test_who_cannot_take_it_now_gets_it_later_and_nobody_twice():
    """450 for one of three: the others have it at once, that one when it can; 550 for one is told and no more."""
    async with mailbox() as box:
        mail, box.busy, box.unknown = channel(box), frozenset(THREE[1:2]), frozenset(THREE[2:])
        for _ in range(2):
            with pytest.raises(ErpUnavailable, match=r"b@plant.test \(450 the mailbox is busy\)"):
                await mail.send(message(), THREE)
        box.busy = frozenset()
        refused = await mail.send(message(), THREE)
        assert refused == ("c@plant.test: refused by the mail server (550 nobody here has that name)",)
        assert [one.receivers for one in box.got] == [THREE[:1], THREE[1:2]]
        assert len({str(one["Message-ID"]) for one in box.mails}) == 1


async def test_where_nobody_can_take_it_now_it_is_tried_again_and_where_nobody_ever_will_it_is_refused():
    """One busy receiver is enough to try again."""
    async with mailbox() as box:
        mail, box.busy, box.unknown = channel(box), frozenset(THREE[1:2]), frozenset([THREE[0], THREE[2]])
        with pytest.raises(ErpUnavailable, match="450"):
            await mail.send(message(), THREE)
        box.busy, box.unknown = frozenset(), frozenset(THREE)
        with pytest.raises(ErpRejected, match="550"):
            await mail.send(message(), THREE)
        assert box.got == []


@pytest.mark.parametrize(
    ("fault", "error"), [("cut", ErpInDoubt), ("lost", ErpInDoubt), ("later", ErpUnavailable), ("down", ErpUnavailable)]
)
async def test_a_server_that_goes_away_in_the_middle_has_it_after_the_next_try(fault: str, error: type[Exception]):
    """In the text, behind it, before it: sent again under the same Message-ID, by which a repetition is known."""
    async with mailbox() as box:
        mail, box.fault = channel(box), fault
        with pytest.raises(error):
            await mail.send(message(), THREE)
        await mail.send(message(), THREE)
        assert len({str(one["Message-ID"]) for one in box.mails}) == 1
        assert len(box.mails) == (2 if fault == "lost" else 1)
