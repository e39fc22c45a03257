"""What is known without a running agent: the plant's files as they count today, and what the ERP said last."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from agent import masterfiles
from agent.commands.place import Place, now
from agent.facts import Facts, Plant, from_document
from agent.store import masterdata


def known(place: Place) -> Facts:
    """Facts to look at; the agent decides by its own. Raises ConfigError, NotFound, StoreError."""
    plant = Plant(place.plant.site, ZoneInfo(place.plant.time_zone), place.plant.currency)
    table = place.unit_table()
    files = masterfiles.load(place.masterdata, table).facts(plant.day(now()))
    learnt = place.look(lambda live: masterdata.current(live, "erp"))
    told = (from_document(kind, document) for kind, _, document in learnt)
    return Facts(plant, table).with_facts(files).with_facts(told)
