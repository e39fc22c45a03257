"""How an act reaches the agent: through the API of the one that runs, or, when none does, straight into its store."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import secrets
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import click

from agent.commands.place import Asked, Place, login, now
from agent.configuration.face_settings import Api
from agent.errors import Conflict, GatepostError, NotFound, StoreError, StoreLocked
from agent.people.desk import Act, Desk
from agent.store.writer import Writer

ANSWER_S = 30.0
OPERATOR = "operator.token"
TOKEN = "GATEPOST_TOKEN"  # noqa: S105  # the name of an environment variable
Local = Callable[[Desk, Act], Awaitable[Any]]


class Reach:
    """One person's way to one agent."""

    def __init__(self, place: Place, asked: Asked) -> None:
        self._place = place
        self._asked = asked

    def act(self, path: str, body: Mapping[str, Any], local: Local) -> Any:
        """Do it and return the answer. Raises NotFound, Conflict, StoreLocked, StoreError.

        `path` and `body` are the request to a running agent, `local` the same at its desk.
        """
        if not self._place.path.exists():
            raise NotFound(f"there is no store at {self._place.path}; is --config right?")
        writer = Writer(self._place.path, now)
        try:
            writer.start()
        except StoreLocked as owned:
            if self._place.api is None:
                raise StoreLocked(
                    f"{owned}; with an api section in {self._place.file} this could be done now"
                ) from None
            bearer, operator = token(self._place, self._asked)
            named = {"on_behalf_of": self._asked.by} if operator or self._asked.by != login() else {}
            return Line(self._place, self._place.api, bearer).ask(
                "POST", path, {**body, "reason": self._asked.reason, **named}
            )
        try:
            for finding in writer.findings:
                click.echo(finding, err=True)
            desk = Desk(writer, now, four_eyes=self._place.four_eyes)
            return asyncio.run(_once(local(desk, Act(self._asked.actor, self._asked.reason))))
        except TimeoutError:
            trouble = writer.figures.trouble or "the disk does not answer"
            raise StoreError(f"nothing was changed: {trouble} (waited {ANSWER_S:.0f} s)") from None
        finally:
            writer.stop()


def at_desk(method: Callable[[Desk, int, Act], Awaitable[Any]], id: int) -> Local:
    """An act on one thing by its number."""
    return lambda desk, act: method(desk, id, act)


async def _once(act: Awaitable[Any]) -> Any:
    async with asyncio.timeout(ANSWER_S):
        return await act


def token(place: Place, asked: Asked | None = None) -> tuple[str, bool]:
    """The bearer token, and whether it is the operator's, who acts for people. Raises GatepostError.

    It is that of the option, of the environment, or of the file that the agent wrote beside its store.
    """
    given = asked.token_file if asked is not None else None
    if given is None and os.environ.get(TOKEN):
        return _bearer(os.environ[TOKEN].encode(errors="surrogateescape"), f"${TOKEN}"), False
    file = given or place.path.parent / OPERATOR
    try:
        return _bearer(file.read_bytes(), str(file)), file.name == OPERATOR
    except OSError as error:
        raise GatepostError(
            f"no API token: {file}: {error.strerror}; run this as the agent's user, or give --token-file or ${TOKEN}"
        ) from None


def _bearer(raw: bytes, place: str) -> str:
    """A token as it can stand in a header. Raises GatepostError for what cannot be one."""
    token = raw.strip()
    if not re.fullmatch(rb"[!-~]{1,512}", token):
        raise GatepostError(f"no API token: what {place} holds is none; it is one line, as `gatepost token` printed it")
    return token.decode()


class Line:
    """Requests to the API of a running agent."""

    def __init__(self, place: Place, api: Api, bearer: str) -> None:
        self._api = api
        self._bearer = bearer
        self._owner = place.owner()

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout: float = ANSWER_S) -> Any:
        """One request; a lost answer is asked for once more, with the same idempotency key."""
        attempt = partial(self._ask, method, path, body, secrets.token_hex(16), timeout)
        try:
            try:
                return attempt()
            except (http.client.HTTPException, ConnectionResetError, BrokenPipeError):
                return attempt()
        except (http.client.HTTPException, OSError) as error:
            nothing_done = isinstance(error, ConnectionRefusedError) or method == "GET"
            raise StoreLocked(
                f"an agent (process {self._owner or 'unknown'}) owns the store, but its API at {self._api.address} "
                f"does not answer ({error}). "
                + ("" if nothing_done else "It may still do what it was asked to: look before you ask again. ")
                + "Look at its log; or stop it, then this command works on the store itself"
            ) from None

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, key: str, timeout: float) -> Any:
        connection = self._connect(timeout)
        headers = {"Authorization": f"Bearer {self._bearer}", "Idempotency-Key": key, "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return answer(response.status, response.read(), self._api.address)
        finally:
            connection.close()

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        """To the address the agent listens on; with TLS only the configured certificate is trusted."""
        host, _, port = self._api.address.rpartition(":")
        host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104  # the way in, not out
        if self._api.tls is None:
            return http.client.HTTPConnection(host, int(port), timeout=timeout)
        context = ssl.create_default_context(cafile=str(self._api.tls.cert))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is the anchor
        context.check_hostname = False  # it is named after the box, and asked for as this machine
        return http.client.HTTPSConnection(host, int(port), timeout=timeout, context=context)


def answer(status: int, raw: bytes, address: str) -> Any:
    """What the API answered, or the error that it means."""
    try:
        told = json.loads(raw) if raw else None
    except ValueError:
        told = raw[:200].decode(errors="replace")
    if status < 300:
        return told
    why = _why(told) or f"the API at {address} answered {status}"
    if status == 404:
        raise NotFound(why)
    if status == 409:
        by = str(told.get("decided_by") or "") if isinstance(told, dict) else ""
        raise Conflict(why, by=by)
    if status in (401, 403):
        raise GatepostError(f"{why} ({status}); the token must be known to the agent and have the scope for this")
    raise GatepostError(f"{why} ({status})")


def _why(told: Any) -> str:
    """The sentence in an error body."""
    if isinstance(told, dict):
        return next((_why(told[name]) for name in ("message", "detail", "error", "title") if told.get(name)), "")
    if isinstance(told, list):
        return "; ".join(str(one.get("msg", one)) if isinstance(one, dict) else str(one) for one in told)
    return str(told or "")
