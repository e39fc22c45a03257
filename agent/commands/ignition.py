"""`gatepost export ignition-tags`: the tags of Ignition for the agent's OPC UA server, from the configuration alone."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import click

from agent.commands import show
from agent.commands.place import Place, at_place, now
from agent.configuration import config
from agent.errors import ConfigError, Conflict, Finding, GatepostError
from agent.masterdata import files as masterfiles
from agent.masterdata.entities import WorkCenter
from agent.opcua.ignition import count, tag_import, tag_name
from agent.opcua.nodes import Parts
from agent.strict.schema import parse
from agent.strict.yamltree import Node
from agent.units import UnitsFile, UnitTable

NAME: Final = "Gatepost"


@click.command("ignition-tags")
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--opc-server", default=NAME, show_default=True, help="What Ignition calls its connection to the agent.")
@click.option("--folder", default=NAME, show_default=True, help="The folder that the tags are in.")
@at_place
def ignition_tags(*, target: Path, opc_server: str, folder: str, place: Place) -> None:
    """Write the tags of Ignition 8.1 or 8.3 for the agent's OPC UA server to FILE.

    One OPC tag for every variable, in a folder tree, read-only, in the default tag group. Sources, targets and
    workflows are those of the configuration, lines those of the work centres of today; neither the agent nor a
    gateway has to run, and no secret is read. '-' as FILE prints. Import it in the Designer's tag browser; after a
    change of the configuration again, with the collision policy MergeOverwrite.

    \b
    Example:
      gatepost export ignition-tags tags.json --opc-server "Gatepost line 5"
    """
    if tag_name(folder) != folder:
        raise click.BadParameter(
            f"Ignition takes no such name; {tag_name(folder)!r} would be one", param_hint="--folder"
        )
    if not opc_server.strip():
        raise click.BadParameter("is empty; name the connection as Ignition does", param_hint="--opc-server")
    tags = tag_import(configured(place), opc_server, folder)
    written = json.dumps(tags, indent=2, ensure_ascii=False) + "\n"
    if str(target) == "-":
        click.echo(written, nl=False)
        return
    try:
        with target.open("x", encoding="utf-8") as stream:
            stream.write(written)
    except FileExistsError as error:
        raise Conflict(f"{target} is there already; name another file") from error
    except OSError as error:
        raise GatepostError(f"{target}: {error}; the export is not complete") from error
    show.say(f"{count(tags)} tags in {target}; Ignition's connection to the agent must be called {opc_server!r}")


def configured(place: Place) -> Parts:
    """What the agent of this configuration would show today. Raises ConfigError with everything that is wrong."""
    from agent import assembly, contents  # slow to import, and other exports do not need them

    examined = config.examine(place.file, assembly.resolver())
    wrong = [one for one in examined.findings if not one.message.startswith("the secret ")]  # none is needed here
    tree = examined.tree
    if wrong or tree is None:
        raise ConfigError(wrong)
    section = tree.get("opcua_server")
    if section is None or section.plain() is None:
        message = "is not configured, so there is nothing that Ignition could connect to; add the section"
        raise ConfigError([Finding(str(place.file), section.line if section else tree.line, "opcua_server", message)])
    flows = tree.get("workflows")
    places = parse(tree.pick(contents.Places.model_fields.__contains__), contents.Places)
    lines = _lines(places.masterdata, places.units, now().astimezone(ZoneInfo(place.plant.time_zone)).date())
    return Parts(_names(tree, "sources"), _names(tree, "targets"), list(flows.mapping) if flows else [], lines)


def _names(tree: Node, part: str) -> list[str]:
    node = tree.get(part)
    return [name.text for one in (node.items if node else ()) if (name := one.get("name"))]


def _lines(folder: Path, units: Path, today: date) -> list[str]:
    """The lines of the work centres that count today."""
    facts = masterfiles.load(folder, UnitTable.of(parse(units, UnitsFile))).facts(today)
    return sorted({one.line for one in facts if isinstance(one, WorkCenter)} - {""})
