"""What a web address answers is told without the part of it that is a secret; a mail address fits into SMTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from agent.access.secrets import Secret
from agent.channels.mail import MailConfig
from agent.channels.message import Message
from agent.channels.webhook import Webhook, WebhookConfig
from agent.errors import ErpRejected

TOLD = Message("k1", "2026-11-20T12:00:00+00:00", "alarm", "blocked", "no springs", "", "c", ("planner",))


async def test_an_answer_that_repeats_the_address_does_not_tell_the_secret_in_it():
    """A server that does not know the path says which one was asked for: it stands in no error and no trail."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = b"Cannot POST " + head.split(b" ")[1]
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        config = WebhookConfig(
            kind="webhook", url=f"http://127.0.0.1:{port}/hook/", secret_path=Secret("room", "T0 0/very-secret")
        )
        with pytest.raises(ErpRejected) as refused:
            await Webhook(config, lambda: datetime.now(UTC)).send(TOLD, ())
    assert "very-secret" not in str(refused.value)
    assert "404 (Cannot POST /hook/***)" in str(refused.value)


def test_a_mail_address_that_smtp_cannot_carry_is_refused_by_the_configuration():
    """It would be in doubt for ever, and with it everybody else of its role."""
    config = MailConfig(kind="mail", host="127.0.0.1", security="none", sender="a@b.example")
    assert config.refusal("müller@werk.example")
    assert not config.refusal("mueller@werk.example")
