"""Sessions and pages: who is there, which view is shown, popups, messages, and the question for a password."""

from __future__ import annotations

import copy
import itertools
import logging
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulators.gateway.project import PERSPECTIVE, ProjectError, of_file
from simulators.gateway.trees import Tree
from simulators.gateway.views import ViewInstance

if TYPE_CHECKING:
    from simulators.gateway.gateway import Gateway, User

log = logging.getLogger("gateway.sessions")
FORGOTTEN_S = 30.0
current = threading.local()  # .page, .session: whose script runs on this thread


@dataclass(slots=True)
class Challenge:
    """A question for a password that waits for its answer."""

    id: str
    payload: Any
    until: float  # monotonic
    asks: Mapping[str, Any]


@dataclass(slots=True)
class Popup:
    """A view in a window of its own."""

    id: str
    view: ViewInstance
    options: Mapping[str, Any]


class Session:
    """One browser of one person."""

    def __init__(self, gateway: Gateway, user: User) -> None:
        self.gateway, self.user = gateway, user
        self.id = secrets.token_hex(16)
        told = gateway.project.session_props
        self.zone = told.get("props", {}).get("timeZoneId") or "UTC"
        self.tree: dict[str, Any] = {
            "custom": copy.deepcopy(told.get("custom") or {}),
            "props": {
                **copy.deepcopy(told.get("props") or {}),
                "id": self.id,
                "auth": user.auth(),
                "address": "127.0.0.1",
            },
        }
        self.pages: dict[str, Page] = {}
        self.lock = threading.RLock()
        for _, file, _ in gateway.project.events(f"{PERSPECTIVE}/startup"):
            of_file(file, gateway.known)(self)

    @property
    def props(self) -> Tree:
        """As scripts see it."""
        return Tree(self.tree["props"], self.touch)

    @property
    def custom(self) -> Tree:
        """As scripts see it."""
        return Tree(self.tree["custom"], self.touch)

    def getInfo(self) -> Mapping[str, Any]:
        """Who and where."""
        return {"id": self.id, "userName": self.user.name, "address": "127.0.0.1"}

    def forget_closed(self) -> None:
        """A tab that has not asked for a while was closed, or shows another page."""
        for id, page in list(self.pages.items()):
            if time.monotonic() - page.asked > FORGOTTEN_S:
                del self.pages[id]

    def touch(self) -> None:
        """Something that every page may show has changed."""
        for page in list(self.pages.values()):
            page.touch()


class Page:
    """One tab of a browser."""

    def __init__(self, session: Session, path: str) -> None:
        self.session = session
        self.id = secrets.token_hex(8)
        self.numbers = itertools.count(1)
        self.known = session.gateway.known
        self.version = 0
        self.asked = time.monotonic()  # when the browser last wanted to see it
        self.popups: dict[str, Popup] = {}
        self.challenge: Challenge | None = None
        self.complaints: dict[str, str] = {}
        self.orders: list[Mapping[str, Any]] = []  # to the browser: go there, say this
        self._changed = threading.Condition()
        self._dirty = True
        self.go(path)
        session.pages[self.id] = self
        self.docks = [
            (side, dock, ViewInstance(dock["viewPath"], dock.get("viewParams") or {}, self))
            for side, docks in session.gateway.project.docks.items()
            if isinstance(docks, list)
            for dock in docks
        ]

    @property
    def tree(self) -> dict[str, Any]:
        """What `page.props…` reaches."""
        return {
            "props": {"pageId": self.id, "path": self.path, "dimensions": {"viewport": {"width": 1440, "height": 900}}}
        }

    @property
    def props(self) -> Tree:
        """As scripts see it."""
        return Tree(self.tree["props"], self.touch)

    def go(self, path: str) -> None:
        """Show the page of this path. Raises ProjectError."""
        pages = self.session.gateway.project.pages
        self.path, params = path, {}
        found = pages.get(path)
        for pattern, page in pages.items():
            if found is None and (taken := _matched(pattern, path)) is not None:
                found, params = page, taken
        if found is None:
            raise ProjectError(f"the project has no page {path!r}; it has {', '.join(pages)}")
        self.title = found.get("title") or ""
        self.view = ViewInstance(found["viewPath"], params, self)
        self.popups.clear()
        self.touch()

    # ── changes ─────────────────────────────────────────────────────────────────────────────────────────

    def touch(self) -> None:
        """What is shown may be out of date."""
        with self._changed:
            self._dirty = True
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Until it may be out of date; False: nothing happened."""
        with self._changed:
            return self._changed.wait_for(lambda: self._dirty, seconds)

    def drawn(self) -> dict[str, Any]:
        """Everything that the browser shows, settled."""
        self.asked = time.monotonic()
        with self.session.lock, self.at_work():
            self._dirty = False
            shown = [self.view, *(dock for _, _, dock in self.docks), *(one.view for one in self.popups.values())]
            for one in shown:
                one.settle()
            self.version += 1
            asks = self.challenge.asks if self.challenge and self.challenge.until > time.monotonic() else None
            orders, self.orders = self.orders, []
            return {
                "version": self.version,
                "title": self.title,
                "path": self.path,
                "view": self.view.drawn(),
                "docks": [
                    {"side": side, **{k: dock.get(k) for k in ("size", "content")}, "view": view.drawn()}
                    for side, dock, view in self.docks
                ],
                "popups": [
                    {"id": one.id, "options": one.options, "view": one.view.drawn()} for one in self.popups.values()
                ],
                "theme": self.session.tree["props"].get("theme", "light"),
                "challenge": asks,
                "complaints": self.complaints,
                "orders": orders,
            }

    def views(self) -> Iterator[ViewInstance]:
        """All that is shown."""
        for one in [self.view, *(dock for _, _, dock in self.docks), *(popup.view for popup in self.popups.values())]:
            yield from one.all_views()

    # ── what happens ────────────────────────────────────────────────────────────────────────────────────

    def at_work(self) -> Any:
        """Scripts on this thread belong to this page."""
        return _Working(self)

    def doing(self, where: str, run: Callable[..., Any], *given: Any) -> None:
        """Run a script; what goes wrong is shown."""
        try:
            with self.at_work():
                run(*given)
        except Exception as error:  # noqa: BLE001  # a gateway logs it and goes on
            self.complain(where, error)

    def complain(self, where: str, error: Exception) -> None:
        """Tell of an error, in the log and in the browser."""
        line = "".join(traceback.format_exception_only(error)).strip()
        if self.complaints.get(where) != line:
            log.warning("%s: %s", where, line)
        self.complaints[where] = line

    def event(self, id: str, domain: str, name: str, event: Any) -> None:
        """Somebody did something with a component."""
        with self.session.lock:
            self.complaints.clear()
            for view in list(self.views()):
                for one in view.everything():
                    if one.id == id:
                        one.run_event(domain, name, Tree(event, lambda: None))
        self.touch()

    def write(self, id: str, path: str, value: Any) -> None:
        """Somebody typed or chose something; a bidirectional binding carries it on."""
        from simulators.gateway import trees  # beside its only use

        with self.session.lock:
            for view in list(self.views()):
                for one in view.everything():
                    if one.id == id:
                        config = (one.of.get("propConfig") or {}).get(path) or {}
                        trees.put(one.tree, path, value)
                        binding = config.get("binding") or {}
                        if binding.get("config", {}).get("bidirectional") and binding["type"] == "property":
                            _put_reference(one, binding["config"]["path"], value)
                        one._changed(path, config, value, None)
        self.touch()

    def action(self, kind: str, config: Mapping[str, Any]) -> None:
        """An action that is no script."""
        if kind == "popup":
            if config.get("type") == "close":
                self.close(config["id"])
            else:
                self.open(config["id"], config["viewPath"], config.get("viewParams") or {}, config)
        elif kind == "nav":
            self.go(config.get("page") or config.get("url") or "/")
        elif kind == "login":
            self.orders.append({"type": "login"})
        elif kind == "logout":
            self.orders.append({"type": "logout"})
        else:
            raise ValueError(f"the stand-in knows no action of type {kind}")
        self.touch()

    def open(self, id: str, path: str, params: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        """Open a popup, or bring what is open up to date."""
        self.popups[id] = Popup(id, ViewInstance(path, params, self), dict(options))
        self.touch()

    def close(self, id: str) -> None:
        """Close a popup; without a name the last one."""
        self.popups.pop(id or next(reversed(self.popups), ""), None)
        self.touch()

    def message(self, kind: str, payload: Any, scope: str) -> None:
        """To all views of this page."""
        with self.session.lock:
            for view in list(self.views()):
                view.deliver(kind, payload, scope)
        self.touch()


class _Working:
    def __init__(self, page: Page) -> None:
        self._page = page

    def __enter__(self) -> None:
        self._before = getattr(current, "page", None)
        current.page = self._page

    def __exit__(self, *_: object) -> None:
        current.page = self._before


def _put_reference(one: Any, path: str, value: Any) -> None:
    from simulators.gateway import trees

    head, _, rest = path.partition(".")
    owner = {"view": one.view_, "this": one, "parent": one.parent_, "session": one.view_.page.session}.get(head)
    if owner is None:
        raise ValueError(f"the stand-in cannot write to {path}")
    trees.put(owner.tree, rest, value)


def _matched(pattern: str, path: str) -> dict[str, str] | None:
    """Parameters of a page like `/trace/:id`."""
    wanted, given = pattern.strip("/").split("/"), path.strip("/").split("/")
    if len(wanted) != len(given) or ":" not in pattern:
        return None
    found = {}
    for want, has in zip(wanted, given, strict=True):
        if want.startswith(":"):
            found[want[1:]] = has
        elif want != has:
            return None
    return found


@dataclass(slots=True)
class Answer:
    """What `onAuthChallengeCompleted` is given as `result`."""

    context: Any = None
    error: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict)

    def isSuccess(self) -> bool:
        """Whether somebody has proven who they are."""
        return self.context is not None

    def isError(self) -> bool:
        """Whether not."""
        return self.context is None

    def getAsSuccess(self) -> Answer:
        """The success."""
        return self

    def getAsError(self) -> Answer:
        """The error."""
        return self

    def getContext(self) -> Any:
        """Who it is."""
        return self.context

    def getMessage(self) -> str:
        """What went wrong."""
        return self.error

    def __str__(self) -> str:
        return self.error
