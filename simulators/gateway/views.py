"""Views at work: components with their properties, bindings and scripts, and what a browser shall draw of them."""

from __future__ import annotations

import copy
import itertools
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from simulators.gateway import trees
from simulators.gateway.expressions import date_format, evaluate, number_format
from simulators.gateway.project import made
from simulators.gateway.trees import Tree

if TYPE_CHECKING:
    from simulators.gateway.sessions import Page

log = logging.getLogger("gateway.views")
DEEPEST = 12  # views within views
EVENT = "def run(self, event):"


class Component:
    """One component of a view, or the view itself (`of` is its JSON)."""

    def __init__(self, of: Mapping[str, Any], view: ViewInstance, parent: Component | None) -> None:
        self.of, self.parent_, self.view_ = of, parent, view
        self.type: str = of.get("type", "view")
        self.name: str = of.get("meta", {}).get("name", "")
        self.id = f"c{next(view.page.numbers)}"
        self.tree: dict[str, Any] = {
            name: copy.deepcopy(of.get(name) or {}) for name in ("props", "custom", "position", "params", "meta")
        }
        self.kids = [Component(one, view, self) for one in of.get("children", [])]
        self.inner: dict[str, ViewInstance] = {}  # views that it shows
        self.started = False

    # what scripts reach

    def __getattr__(self, name: str) -> Any:
        if name in ("props", "custom", "position", "params", "meta"):
            return Tree(self.tree[name], self.view_.page.touch)
        view = self.view_
        if name == "view":
            return view
        if name in ("session", "page"):
            return view.page.session if name == "session" else view.page
        if name == "parent":
            return self.parent_
        if name == "children":
            return self.kids
        for method in (self.of.get("scripts") or {}).get("customMethods") or []:
            if method["name"] == name:
                header = f"def {name}({', '.join(['self', *method.get('params', [])])}):"
                run = made(header, method["script"], self.where(name), view.page.known)
                return lambda *given, **named: run(self, *given, **named)
        raise AttributeError(f"{self.where()} has no {name}")

    def getSibling(self, name: str) -> Component | None:
        """A component beside it."""
        return next((one for one in (self.parent_.kids if self.parent_ else []) if one.name == name), None)

    def getChild(self, name: str) -> Component | None:
        """A component in it."""
        return next((one for one in self.kids if one.name == name), None)

    def where(self, what: str = "") -> str:
        """Its place, for errors."""
        return f"{self.view_.path}/{self.name or 'view'}{'.' + what if what else ''}"

    # bindings

    def bind(self) -> bool:
        """Compute each bound property again; whether one of them changed."""
        changed = False
        for path, config in (self.of.get("propConfig") or {}).items():
            binding = config.get("binding")
            if not binding:
                continue
            try:
                value = self._bound(binding)
            except Exception as error:  # noqa: BLE001  # shown where it belongs, as a gateway does with an overlay
                self.view_.page.complain(self.where(path), error)
                value = None
            else:
                self.view_.page.complaints.pop(self.where(path), None)
            before = trees.get(self.tree, path)
            if value != before or type(value) is not type(before):
                trees.put(self.tree, path, value)
                changed = True
                self._changed(path, config, value, before)
        return changed

    def _changed(self, path: str, config: Mapping[str, Any], value: Any, before: Any) -> None:
        script = (config.get("onChange") or {}).get("script")
        if script:
            header = "def run(self, previousValue, currentValue, origin, missedEvents):"
            run = made(header, script, self.where(path), self.view_.page.known)
            self.view_.page.doing(self.where(path), run, self, _Value(before), _Value(value), "Binding", False)

    def _bound(self, binding: Mapping[str, Any]) -> Any:
        kind, config = binding["type"], binding["config"]
        if kind == "property":
            value = self.look(config["path"])
        elif kind == "expr":
            value = evaluate(config["expression"], self.look)
        elif kind == "expr-struct":
            value = {name: evaluate(text, self.look) for name, text in config["struct"].items()}
        elif kind == "tag":
            value = self.view_.page.session.gateway.tags.read(self._tag_path(config)).value
        else:
            raise ValueError(f"the stand-in knows no binding of type {kind}")
        if hasattr(value, "plain") and not binding.get("transforms"):
            value = value.plain()
        for transform in binding.get("transforms") or []:
            value = self._transformed(transform, value)
        return trees.plain(value.plain() if hasattr(value, "plain") else value)

    def _tag_path(self, config: Mapping[str, Any]) -> str:
        mode, path = config.get("mode", "direct"), str(config["tagPath"])
        if mode == "expression":
            return str(evaluate(path, self.look))
        if mode == "indirect":
            for number, reference in config.get("references", {}).items():
                path = path.replace(f"{{{number}}}", str(self.look(reference.strip("{}"))))
        return path

    def _transformed(self, transform: Mapping[str, Any], value: Any) -> Any:
        kind = transform["type"]
        if kind == "script":
            header = "def transform(self, value, quality, timestamp):"
            run = made(header, transform["code"], self.where("transform"), self.view_.page.known)
            return run(self, value, "Good", None)
        if kind == "expression":
            return evaluate(transform["expression"], lambda path: value if path == "value" else self.look(path))
        if kind == "format":
            if transform.get("formatType") == "datetime":
                return date_format(value, str(transform["formatValue"]), self.view_.page.session.zone)
            return number_format(value, str(transform["formatValue"]))
        if kind == "map":
            return self._mapped(transform, value)
        raise ValueError(f"the stand-in knows no transform of type {kind}")

    def _mapped(self, transform: Mapping[str, Any], value: Any) -> Any:
        expressive = transform.get("outputType") == "expression"
        for one in transform.get("mappings", []):
            if _fits(one["input"], value):
                return evaluate(str(one["output"]), self.look) if expressive else one["output"]
        other = transform.get("fallback")
        return evaluate(str(other), self.look) if expressive and other else other

    def look(self, path: str) -> Any:
        """What a reference means here: `view.params.x`, `this.props.y`, `../Name.props.a`, `[default]a/tag`."""
        if path.startswith("["):
            return self.view_.page.session.gateway.tags.read(path).value
        head, _, rest = path.partition(".")
        if head == "this":
            return trees.get(self.tree, rest)
        if head in ("view", "parent", "session", "page"):
            owner: Any = {
                "view": self.view_,
                "parent": self.parent_,
                "session": self.view_.page.session,
                "page": self.view_.page,
            }[head]
            return trees.get(owner.tree, rest)
        if "/" in path:
            return self._beside(path)
        raise ValueError(f"the stand-in cannot follow the reference {{{path}}}")

    def _beside(self, path: str) -> Any:
        at: Component | None = self.view_.root if path.startswith("/") else self
        *way, last = path.lstrip("/").split("/")
        name, _, rest = last.partition(".")
        if path.startswith("/") and way[:1] == ["root"]:
            way = way[1:]
        elif path.startswith("/") and name == "root":
            return trees.get(self.view_.root.tree, rest)
        for step in [*way, name]:
            if at is None:
                return None
            at = at.parent_ if step == ".." else at if step == "." else at.getChild(step)
        return trees.get(at.tree, rest) if at is not None else None

    # life

    def run_event(self, domain: str, name: str, event: Any) -> None:
        """Do what the view says about an event; actions in their order."""
        actions = ((self.of.get("events") or {}).get(domain) or {}).get(name) or []
        for action in actions if isinstance(actions, list) else [actions]:
            if action.get("enabled", True) is False:
                continue
            if action["type"] == "script":
                run = made(EVENT, action["config"]["script"], self.where(name), self.view_.page.known)
                self.view_.page.doing(self.where(name), run, self, event)
            else:
                self.view_.page.action(action["type"], self._resolved(action.get("config") or {}))

    def _resolved(self, config: Any) -> Any:
        """References in the configuration of an action are those of the moment."""
        if isinstance(config, dict):
            return {name: self._resolved(one) for name, one in config.items()}
        if isinstance(config, str) and config.startswith("{") and config.endswith("}") and "." in config:
            return self.look(config[1:-1])
        return config

    def everything(self) -> Iterator[Component]:
        """It, and what is in it; not what is in the views that it shows."""
        yield self
        for one in self.kids:
            yield from one.everything()

    def drawn(self) -> dict[str, Any]:
        """What the browser needs."""
        events = [f"{domain}.{name}" for domain, some in (self.of.get("events") or {}).items() for name in some]
        found: dict[str, Any] = {
            "id": self.id,
            "type": self.type,
            "name": self.name,
            "props": trees.plain(self.tree["props"]),
            "position": self.tree["position"],
            "events": events,
        }
        if self.kids:
            found["children"] = [one.drawn() for one in self.kids]
        if self.inner:
            found["views"] = [one.drawn() for one in self.inner.values()]
        return found


class _Value:
    """What `onChange` is given."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _fits(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, dict) and ("min" in wanted or "max" in wanted):
        least, most = wanted.get("min"), wanted.get("max")
        if value is None or (least is not None and value < least):
            return False
        return most is None or (value < most if wanted.get("exclusiveMax", True) else value <= most)
    return bool(wanted == value or str(wanted) == str(value))


class ViewInstance(Component):
    """A view that is shown somewhere, with the parameters it was given."""

    def __init__(self, path: str, params: Mapping[str, Any], page: Page, depth: int = 0) -> None:
        self.path, self.page_, self.depth = path, page, depth
        if depth > DEEPEST:
            raise ValueError(f"view {path} is {depth} views deep; does it show itself?")
        super().__init__(page.session.gateway.project.view(path), self, None)
        self.tree["params"].update(copy.deepcopy(dict(params)))
        self.root = Component(self.of["root"], self, None)

    @property
    def page(self) -> Page:
        """The page that it is on."""
        return self.page_

    def getChild(self, name: str) -> Component | None:
        """Its root."""
        return self.root if name in ("root", self.root.name) else None

    def settle(self) -> None:
        """Bindings again and again until nothing changes; then the views in it."""
        for _ in itertools.repeat(None, 20):
            changed = [one.bind() for one in self.everything()]
            if not any(changed):
                break
        for one in [self, *self.root.everything()]:
            if not one.started:
                one.started = True
                one.run_event("system", "onStartup", {})
            self._show_inside(one)

    def _show_inside(self, one: Component) -> None:
        wanted: dict[str, tuple[str, Mapping[str, Any]]] = {}
        if one.type == "ia.display.view" and one.tree["props"].get("path"):
            wanted["0"] = one.tree["props"]["path"], one.tree["props"].get("params") or {}
        elif one.type == "ia.display.flex-repeater" and one.tree["props"].get("path"):
            for number, given in enumerate(one.tree["props"].get("instances") or []):
                own = {name: value for name, value in given.items() if not name.startswith("instance")}
                wanted[str(number)] = one.tree["props"]["path"], own
        for key in [key for key, shown in one.inner.items() if key not in wanted or shown.path != wanted[key][0]]:
            del one.inner[key]
        for key, (path, params) in wanted.items():
            if key not in one.inner:
                one.inner[key] = ViewInstance(path, params, self.page, self.depth + 1)
            else:
                one.inner[key].tree["params"].update(copy.deepcopy(dict(params)))
            one.inner[key].settle()

    def everything(self) -> Iterator[Component]:
        """The view itself and the components of its own."""
        yield self
        yield from self.root.everything()

    def all_views(self) -> Iterator[ViewInstance]:
        """It, and all views in it."""
        yield self
        for one in self.root.everything():
            for inner in one.inner.values():
                yield from inner.all_views()

    def deliver(self, kind: str, payload: Any, scope: str) -> None:
        """A message to the components that listen to it in this scope."""
        for one in list(self.root.everything()):
            for handler in (one.of.get("scripts") or {}).get("messageHandlers") or []:
                if handler["messageType"] == kind and handler.get(f"{scope}Scope"):
                    run = made("def run(self, payload):", handler["script"], one.where(kind), self.page.known)
                    self.page.doing(one.where(kind), run, one, payload)

    def drawn(self) -> dict[str, Any]:
        """Its root, with the size that the view wants to have."""
        return {
            "id": self.id,
            "view": self.path,
            "root": self.root.drawn(),
            "size": self.tree["props"].get("defaultSize"),
        }


def jsonable(value: Any) -> Any:
    """What `json.dumps` cannot write by itself."""
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "plain"):
        return value.plain()
    return str(value)
