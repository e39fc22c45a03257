"""The bench gateway over HTTP: a login, one page per tab, and what people do there. Threads, one per request."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from http import HTTPStatus
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from simulators.gateway.gateway import Gateway
from simulators.gateway.project import ProjectError
from simulators.gateway.sessions import Page, Session
from simulators.gateway.views import jsonable

STATIC = Path(__file__).parent / "static"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
COOKIE = "bench_gateway"
WAIT_S = 10.0
TICK_S = 1.0  # `now()` in bindings moves on


class Server(ThreadingHTTPServer):
    """Listens on this machine only."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, gateway: Gateway, port: int) -> None:
        self.gateway = gateway
        super().__init__(("127.0.0.1", port), Handler)

    def start(self) -> None:
        """Serve in a thread of its own."""
        threading.Thread(target=self.serve_forever, daemon=True, name="gateway http").start()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:  # http.server's own name
        """Files, styles, and what is shown."""
        path, _, query = self.path.partition("?")
        if path == "/styles.css":
            self._send(self.server.gateway.project.styles().encode(), KINDS[".css"])
        elif path.startswith("/static/") and (STATIC / path.rpartition("/")[2]).exists():
            file = STATIC / path.rpartition("/")[2]
            self._send(file.read_bytes(), KINDS[file.suffix])
        elif path == "/drawn":
            self._drawn(query)
        else:
            self._send((STATIC / "index.html").read_bytes(), KINDS[".html"])

    def do_POST(self) -> None:
        """What people do."""
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        act = {"/login": self._login, "/open": self._open, "/event": self._event, "/answer": self._answer}.get(
            self.path
        )
        if act is None:
            self._say({"error": "there is nothing here"}, HTTPStatus.NOT_FOUND)
            return
        try:
            act(body)
        except ProjectError as error:
            self._say({"error": str(error)}, HTTPStatus.NOT_FOUND)

    def _login(self, body: dict[str, Any]) -> None:
        session = self.server.gateway.log_in(body["user"], body["password"])
        if session is None:
            self._say({"error": "user and password do not belong together"}, HTTPStatus.UNAUTHORIZED)
            return
        self._say({"user": session.user.name}, cookie=session.id)

    def _open(self, body: dict[str, Any]) -> None:
        session = self._session()
        if session is None:
            self._say({"error": "log in", "project": self.server.gateway.project.title}, HTTPStatus.UNAUTHORIZED)
            return
        session.forget_closed()
        page = Page(session, body.get("path") or "/")
        self._say(
            {
                "page": page.id,
                "user": f"{session.user.first} {session.user.last}",
                "project": self.server.gateway.project.title,
                "pages": {
                    path: one.get("title") or path
                    for path, one in self.server.gateway.project.pages.items()
                    if ":" not in path
                },
            }
        )

    def _drawn(self, query: str) -> None:
        id, _, seen = query.partition("&")
        page = self._page(id)
        if page is None:
            self._say({"error": "log in"}, HTTPStatus.UNAUTHORIZED)
            return
        if seen != "0":
            page.wait(TICK_S)
        self._say(page.drawn())

    def _event(self, body: dict[str, Any]) -> None:
        page = self._page(body["page"])
        if page is None:
            self._say({"error": "log in"}, HTTPStatus.UNAUTHORIZED)
            return
        if "go" in body:
            with page.session.lock:
                page.go(body["go"])
        elif "close" in body:
            page.close(body["close"])
        elif "write" in body:
            page.write(body["id"], body["write"], body["value"])
        else:
            domain, _, name = body["event"].partition(".")
            page.event(body["id"], domain, name, body.get("with") or {})
        self._say({})

    def _answer(self, body: dict[str, Any]) -> None:
        page = self._page(body["page"])
        if page is None:
            self._say({"error": "log in"}, HTTPStatus.UNAUTHORIZED)
            return
        with page.session.lock:
            wrong = self.server.gateway.answer(page, body["id"], body.get("user") or "", body.get("password") or "")
        self._say({"error": wrong} if wrong else {})

    # ── plumbing ────────────────────────────────────────────────────────────────────────────────────────

    def _session(self) -> Session | None:
        cookie = SimpleCookie(self.headers.get("cookie") or "").get(COOKIE)
        return self.server.gateway.sessions.get(cookie.value) if cookie else None

    def _page(self, id: str) -> Page | None:
        session = self._session()
        return session.pages.get(id) if session else None

    def _say(self, found: Any, status: HTTPStatus = HTTPStatus.OK, cookie: str = "") -> None:
        self._send(json.dumps(found, default=jsonable).encode(), "application/json", status, cookie)

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, cookie: str = "") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.send_header("cache-control", "no-store")
        self.send_header(
            "content-security-policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
        )
        if cookie:
            self.send_header("set-cookie", f"{COOKIE}={cookie}; HttpOnly; SameSite=Strict; Path=/")
        with suppress(ConnectionError):  # the tab was closed meanwhile
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's own name
        """Requests are not worth a line."""
