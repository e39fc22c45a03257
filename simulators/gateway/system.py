"""What scripts call `system`: as much of Ignition's functions as the project uses, named and shaped as documented.

What is missing here is missing with its name: a script that asks for it stops with an error that says so.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from simulators.gateway.expressions import as_moment, date_format, number_format
from simulators.gateway.sessions import Challenge, Page, current
from simulators.gateway.tags import Dataset, QualifiedValue, Quality, UnknownTagError
from simulators.gateway.trees import plain

if TYPE_CHECKING:
    from simulators.gateway.gateway import Gateway


class Functions:
    """One folder of functions; what it does not have is told with its name."""

    def __init__(self, name: str, **functions: Any) -> None:
        self.__dict__.update(functions)
        self.__dict__["_name"] = name

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the stand-in does not have {self._name}.{name}")


def system(gateway: Gateway) -> Functions:
    """`system` for scripts of this gateway."""
    return Functions(
        "system",
        tag=_tag(gateway),
        util=_util(gateway),
        net=_net(),
        date=_date(),
        dataset=_dataset(),
        perspective=_perspective(gateway),
        secrets=_secrets(gateway),
    )


# ── tags ────────────────────────────────────────────────────────────────────────────────────────────────────


def _tag(gateway: Gateway) -> Functions:
    tags = gateway.tags

    def read(paths: Sequence[str] | str, _timeout: int = 45_000) -> list[QualifiedValue]:
        return [_read(one) for one in ([paths] if isinstance(paths, str) else paths)]

    def _read(path: str) -> QualifiedValue:
        try:
            return tags.read(path)
        except UnknownTagError:
            return QualifiedValue(None, Quality(good=False), datetime.now(UTC))

    def write(paths: Sequence[str] | str, values: Any, _timeout: int = 45_000) -> list[Quality]:
        pairs = [(paths, values)] if isinstance(paths, str) else list(zip(paths, values, strict=True))
        found = []
        for path, value in pairs:
            try:
                tags.write(path, plain(value))
                found.append(Quality())
            except UnknownTagError as error:
                gateway.log.warning("%s", error)
                found.append(Quality(good=False))
        return found

    return Functions(
        "system.tag",
        readBlocking=read,
        writeBlocking=write,
        writeAsync=write,
        exists=lambda path: path.removeprefix("[default]") in {one.removeprefix("[default]") for one in tags.paths()},
    )


# ── HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────


class Response:
    """An answer, as `system.net.httpClient` gives it. No status raises; a network that fails does."""

    def __init__(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.statusCode, self.body, self.headers = status, body, headers
        self.good = 200 <= status < 300
        self.clientError, self.serverError = 400 <= status < 500, status >= 500
        self.text = body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.text)

    def getStatusCode(self) -> int:
        """The status."""
        return self.statusCode

    def getText(self) -> str:
        """The body as text."""
        return self.text

    def getJson(self) -> Any:
        """The body, read."""
        return self.json


def _net() -> Functions:
    def client(timeout: int = 60_000, bypass_cert_validation: bool = False, **_: Any) -> SimpleNamespace:
        context = ssl.create_default_context(cafile=os.environ.get("GATEWAY_TRUSTS"))
        if bypass_cert_validation:
            raise ValueError("the project must not turn the check of certificates off")

        def request(
            url: str,
            method: str = "GET",
            params: Any = None,
            data: Any = None,
            headers: Any = None,
            timeout: int = timeout,
            **_more: Any,
        ) -> Response:
            body, sent = _body(data), {str(name): str(value) for name, value in (headers or {}).items()}
            if isinstance(data, dict) and not any(name.lower() == "content-type" for name in sent):
                sent["Content-Type"] = "application/json"
            where = f"{url}?{urllib.parse.urlencode(params, doseq=True)}" if params else url
            asked = urllib.request.Request(where, data=body, headers=sent, method=method)  # noqa: S310  # the agent's address
            try:
                with urllib.request.urlopen(asked, timeout=timeout / 1000, context=context) as answer:  # noqa: S310
                    return Response(answer.status, answer.read(), dict(answer.headers))
            except urllib.error.HTTPError as error:
                return Response(error.code, error.read(), dict(error.headers))

        def of(method: str) -> Callable[..., Response]:
            return lambda url, *given, **named: request(url, method, *given, **named)

        return SimpleNamespace(request=request, get=of("GET"), post=of("POST"), put=of("PUT"), delete=of("DELETE"))

    return Functions("system.net", httpClient=client)


def _body(data: Any) -> bytes | None:
    if data is None:
        return None
    if isinstance(data, dict | list):
        return json.dumps(plain(data)).encode()
    return data if isinstance(data, bytes) else str(data).encode()


# ── small things ────────────────────────────────────────────────────────────────────────────────────────────


class Logger:
    """`system.util.getLogger`."""

    def __init__(self, name: str) -> None:
        self._log = logging.getLogger(f"gateway.script.{name}")
        for level in ("debug", "info", "error"):
            setattr(self, level, getattr(self._log, level))
        self.trace, self.warn = self._log.debug, self._log.warning

    def isDebugEnabled(self) -> bool:
        """Whether it is worth the words."""
        return self._log.isEnabledFor(logging.DEBUG)


def _util(gateway: Gateway) -> Functions:
    def later(
        function: Callable[..., Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> threading.Thread:
        page = getattr(current, "page", None)

        def run() -> None:
            if page is not None:
                page.doing("invokeAsynchronous", lambda: function(*args, **(kwargs or {})))
            else:
                gateway.doing("invokeAsynchronous", function, *args, **(kwargs or {}))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    return Functions(
        "system.util",
        getLogger=Logger,
        jsonEncode=lambda value, _indent=0: json.dumps(plain(value), default=str),
        jsonDecode=json.loads,
        invokeAsynchronous=later,
        sendMessage=gateway.send_message,
        getProjectName=lambda: gateway.project.folder.name,
        getGlobals=lambda: gateway.globals,
        globals=gateway.globals,
        audit=gateway.note,
        getSystemName=lambda: "bench-gateway",
        getGatewayStatus=lambda *_: "RUNNING",
        getVersion=lambda: "8.3.0",
    )


def _date() -> Functions:
    def moment(value: Any) -> datetime:
        found = as_moment(value)
        if found is None:
            raise ValueError(f"{value!r} is no date")
        return found

    def between(unit: float) -> Callable[[Any, Any], int]:
        return lambda early, late: int((moment(late) - moment(early)).total_seconds() / unit)

    return Functions(
        "system.date",
        now=lambda: datetime.now(UTC),
        toMillis=lambda at: int(moment(at).timestamp() * 1000),
        fromMillis=lambda ms: datetime.fromtimestamp(ms / 1000, UTC),
        parse=lambda text, *_: moment(text),
        format=lambda at, pattern="yyyy-MM-dd HH:mm:ss": date_format(at, pattern),
        secondsBetween=between(1),
        minutesBetween=between(60),
        hoursBetween=between(3600),
        millisBetween=between(0.001),
        addSeconds=lambda at, n: moment(at) + timedelta(seconds=n),
        addMinutes=lambda at, n: moment(at) + timedelta(minutes=n),
    )


def _dataset() -> Functions:
    return Functions(
        "system.dataset",
        toDataSet=lambda headers, rows=None: headers if rows is None else Dataset(headers, rows),
        toPyDataSet=lambda data: [SimpleNamespace(**row) for row in data.plain()],
        clearDataset=lambda data: Dataset(data.columns, []),
        numberFormat=number_format,
    )


def _secrets(gateway: Gateway) -> Functions:
    def read(_provider: str, name: str) -> SimpleNamespace:
        value = gateway.secrets[name]
        return SimpleNamespace(
            getSecretAsString=lambda *_: value,
            getSecretAsBytes=lambda: value.encode(),
            close=lambda: None,
            __enter__=lambda self: self,
        )

    return Functions("system.secrets", readSecretValue=lambda provider, name: _Secret(read(provider, name)))


class _Secret:
    """A secret in a `with` block."""

    def __init__(self, of: SimpleNamespace) -> None:
        self.__dict__.update(vars(of))

    def __enter__(self) -> _Secret:
        return self

    def __exit__(self, *_: object) -> None: ...


# ── Perspective ─────────────────────────────────────────────────────────────────────────────────────────────


def _perspective(gateway: Gateway) -> Functions:
    def page_of(session: str | None = None, page: str | None = None) -> Page:
        here: Page | None = getattr(current, "page", None)
        if session:
            pages = gateway.sessions[session].pages
            return pages[page] if page else next(reversed(pages.values()))
        if here is None:
            raise ValueError("this script belongs to no page: say sessionId and pageId")
        return here.session.pages[page] if page else here

    def send(
        messageType: str,
        payload: Any = None,
        scope: str = "page",
        sessionId: str | None = None,
        pageId: str | None = None,
    ) -> None:
        at = page_of(sessionId, pageId)
        for page in list(at.session.pages.values()) if scope == "session" else [at]:
            page.message(messageType, plain(payload or {}), scope)

    def navigate(
        page: str = "", url: str = "", sessionId: str | None = None, pageId: str | None = None, **_: Any
    ) -> None:
        at = page_of(sessionId, pageId)
        at.go(page or url)
        at.orders.append({"type": "went", "path": at.path})

    def popup(
        id: str,
        view: str = "",
        params: Any = None,
        sessionId: str | None = None,
        pageId: str | None = None,
        **options: Any,
    ) -> None:
        page_of(sessionId, pageId).open(id, view or options.pop("viewPath", ""), plain(params or {}), options)

    def close(id: str = "", sessionId: str | None = None, pageId: str | None = None) -> None:
        page_of(sessionId, pageId).close(id)

    def challenge(
        sessionId: str | None = None,
        pageId: str | None = None,
        idp: str | None = None,
        forceAuth: bool = False,
        timeout: int = 2,
        payload: Any = None,
        framing: str = "self",
    ) -> None:
        if timeout <= 0:
            raise ValueError("timeout is in minutes and must be positive")
        at = page_of(sessionId, pageId)
        made = json.loads(json.dumps(plain(payload)))  # it must be JSON
        asks = {
            "id": os.urandom(6).hex(),
            "framing": framing,
            "force": forceAuth,
            "user": "" if forceAuth else at.session.user.name,
        }
        at.challenge = Challenge(str(asks["id"]), made, time.monotonic() + timeout * 60, asks)
        at.touch()

    return Functions(
        "system.perspective",
        sendMessage=send,
        navigate=navigate,
        openPopup=popup,
        closePopup=close,
        togglePopup=popup,
        authenticationChallenge=challenge,
        print=lambda message, *_args, **_more: gateway.log.info("%s", message),
        getSessionInfo=lambda *_args, **_more: gateway.session_info(),
        logout=lambda *_args, **_more: page_of().orders.append({"type": "logout"}),
        isAuthorized=lambda isAllOf, securityLevels, sessionId=None: gateway.authorised(
            page_of(sessionId), isAllOf, securityLevels
        ),
    )
