"""What is known without a running agent: the plant's files as they count today, and what the ERP said last."""

from __future__ import annotations

from typing import TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from agent.commands.place import Place, now
from agent.configuration.config import parse, read_yaml
from agent.facts import Facts, Plant
from agent.masterdata import files as masterfiles
from agent.masterdata.documents import from_document
from agent.store import masterdata

Options = TypeVar("Options", bound=BaseModel)


def known(place: Place) -> Facts:
    """Facts to look at; the agent decides by its own. Raises ConfigError, NotFound, StoreError."""
    plant = Plant(place.plant.site, ZoneInfo(place.plant.time_zone), place.plant.currency)
    table = place.unit_table()
    files = masterfiles.load(place.masterdata, table).facts(plant.day(now()))
    learnt = place.look(lambda live: masterdata.current(live, "erp"))
    told = (from_document(kind, document) for kind, _, document in learnt)
    return Facts(plant, table).with_facts(files).with_facts(told)


def options_of(place: Place, workflow: str, options: type[Options]) -> Options:
    """What the configuration says for the workflow of this kind, its defaults without one. Raises ConfigError."""
    flows = read_yaml(place.file).get("workflows")
    for name, item in (flows.mapping if flows else {}).items():
        kind, written = item.get("kind"), item.get("options")
        if written is not None and (kind.text if kind else name) == workflow:
            return parse(written, options)
    return options()
