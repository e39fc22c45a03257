"""The files of one project, as a gateway reads them: pages, views, styles, event scripts, the script library."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

PERSPECTIVE = "com.inductiveautomation.perspective"
JAVA = ("java", "java.lang", "java.net", "java.util")


class ProjectError(Exception):
    """A file of the project that is missing, or not as a gateway reads it."""


class Project:
    """A project folder. Views are read anew when they have changed."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "project.json").exists():
            raise ProjectError(f"{folder} is no Ignition project: it has no project.json")
        self.folder = folder
        self.title = _json(folder / "project.json").get("title") or folder.name
        self._views: dict[str, tuple[int, Any]] = {}

    def view(self, path: str) -> Mapping[str, Any]:
        """The view of this path. Raises ProjectError."""
        file = self.folder / PERSPECTIVE / "views" / path / "view.json"
        try:
            changed = file.stat().st_mtime_ns
        except FileNotFoundError:
            raise ProjectError(f"there is no view {path!r}; {file} is missing") from None
        if self._views.get(path, (0, None))[0] != changed:
            self._views[path] = changed, _json(file)
        found: Mapping[str, Any] = self._views[path][1]
        return found

    @property
    def pages(self) -> Mapping[str, Any]:
        """URL → page."""
        found: Mapping[str, Any] = self._page_config.get("pages", {})
        return found

    @property
    def docks(self) -> Mapping[str, Any]:
        """The docks that every page has."""
        found: Mapping[str, Any] = self._page_config.get("sharedDocks", {})
        return found

    @property
    def _page_config(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = _json(self.folder / PERSPECTIVE / "page-config/config.json")
        return found

    @property
    def session_props(self) -> Mapping[str, Any]:
        """`props` and `custom` that every session begins with."""
        file = self.folder / PERSPECTIVE / "session-props/props.json"
        return _json(file) if file.exists() else {}

    def styles(self) -> str:
        """Style classes and the stylesheet as CSS; `/` in a class's name is escaped as Perspective does."""
        folder = self.folder / PERSPECTIVE / "style-classes"
        rules: list[str] = []
        for file in sorted(folder.rglob("style.json")):
            name = "/".join(file.parent.relative_to(folder).parts)
            rules += _rules(f".psc-{name}".replace("/", "\\/"), _json(file))
        sheet = self.folder / PERSPECTIVE / "stylesheet/stylesheet.css"
        return "\n".join(rules) + "\n" + (sheet.read_text(encoding="utf-8") if sheet.exists() else "")

    # ── scripts ─────────────────────────────────────────────────────────────────────────────────────────

    def library(self, system: Any) -> dict[str, Any]:
        """Top packages of the script library, with `system` known in each module."""
        _stand_in_for_java()
        root = types.SimpleNamespace()
        known: dict[str, Any] = {"system": system, "unicode": str, "basestring": str, "long": int, "xrange": range}
        folder = self.folder / "ignition/script-python"
        for file in sorted(folder.rglob("code.py")):
            names = file.parent.relative_to(folder).parts
            above: Any = root
            for name in names[:-1]:
                if not hasattr(above, name):
                    setattr(above, name, types.SimpleNamespace())
                above = getattr(above, name)
            setattr(above, names[-1], _Module(file, known))
        known |= vars(root)
        return known

    def events(self, kind: str) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
        """Name, file and attributes of each event script of a kind: `ignition/timer`, `…perspective/message`."""
        folder = self.folder / kind
        for resource in sorted(folder.rglob("resource.json")):
            told = _json(resource)
            if told.get("attributes", {}).get("enabled", True):
                yield resource.parent.name, resource.parent / told["files"][0], told.get("attributes", {})


class _Module:
    """One module of the library: run when it is first asked for, as a gateway does."""

    def __init__(self, file: Path, known: Mapping[str, Any]) -> None:
        self.__dict__["_file"], self.__dict__["_known"], self.__dict__["_made"] = file, known, None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            module = types.ModuleType(self._file.parent.name)
            module.__dict__.update(self._known)
            self.__dict__["_made"] = module
            exec(compile(self._file.read_text(encoding="utf-8"), str(self._file), "exec"), module.__dict__)
        return getattr(self._made, name)

    def __setattr__(self, name: str, value: Any) -> None:
        getattr(self, "__name__", None)
        setattr(self._made, name, value)


@cache
def function(header: str, body: str, where: str) -> Any:
    """The code of a script that stands in JSON; the header is what a gateway puts before it."""
    return compile(f"{header}\n{body}\n\tpass\n", where, "exec")


def made(header: str, body: str, where: str, known: Mapping[str, Any]) -> Callable[..., Any]:
    """A function out of a script: `header` is ``def name(…):``."""
    scope: dict[str, Any] = dict(known)
    exec(function(header, body, where), scope)
    name = header.split("(")[0].removeprefix("def ").strip()
    found: Callable[..., Any] = scope[name]
    return found


def of_file(file: Path, known: Mapping[str, Any]) -> Callable[..., Any]:
    """The function of an event script's file."""
    header, _, body = file.read_text(encoding="utf-8").partition("\n")
    return made(header, body, str(file), known)


def _stand_in_for_java() -> None:
    """`from java.lang import Exception` means what Python's own Exception means here."""
    for name in JAVA:
        module = sys.modules.setdefault(name, types.ModuleType(name))
        if name == "java.lang":
            vars(module).update(Exception=OSError, Throwable=OSError, String=str)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProjectError(f"{file}: {error}") from None


def _rules(selector: str, style: Mapping[str, Any]) -> Iterator[str]:
    """CSS of one style class, with its states and its media queries."""
    base = style.get("base", {})
    if found := base.get("style"):
        yield f"{selector} {{{_css(found)}}}"
    for variant in style.get("variants", []):
        if (pseudo := variant.get("pseudo")) and (found := variant.get("style")):
            yield f"{selector}:{pseudo} {{{_css(found)}}}"
        elif (query := variant.get("mediaQuery")) and (found := variant.get("style")):
            yield f"@media {query} {{{selector} {{{_css(found)}}}}}"


def _css(style: Mapping[str, Any]) -> str:
    def dashed(name: str) -> str:
        return "".join(f"-{one.lower()}" if one.isupper() else one for one in name)

    return ";".join(f"{dashed(name)}:{value}" for name, value in style.items() if name != "classes")
