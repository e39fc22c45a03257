"""The configuration reference says what the code reads."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel

from agent.configuration.config import Config
from agent.strict.schema import models_in

HOUSE = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("configuration_page", HOUSE / "docs" / "configuration.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(generator):
    """docs/configuration.md is what its generator writes; if not, run `python docs/configuration.py`."""
    assert generator.PAGE.read_text(encoding="utf-8") == generator.page()


def test_every_key_of_the_agent_is_described():
    """No key without a sentence about what it does."""
    models: list[type[BaseModel]] = [Config]
    for model in models:
        models += [below for field in model.model_fields.values() for below in models_in(field.annotation)]
        assert model.__doc__
        assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_every_plug_in_has_its_section(generator):
    """Each kind of source, target and workflow is on the page."""
    headings = set(re.findall(r"^### `([a-z0-9_]+)`$", generator.page(), re.MULTILINE))
    assert headings >= {kind for table in generator.TABLES.values() for kind in table}
