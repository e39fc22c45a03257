"""The page of the command line says what the commands say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_the_help_of_the_commands(monkeypatch):
    """docs/cli.md is what docs/cli.py writes now; `make docs` writes it again."""
    monkeypatch.delenv("GATEPOST_CONFIG", raising=False)
    spec = importlib.util.spec_from_file_location("docs_cli", DOCS / "cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == module.page()
