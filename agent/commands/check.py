"""`gatepost check`: everything that is wrong with a configuration, at once; what would run when nothing is."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent import assembly, contents
from agent.access.callers import identity_of
from agent.access.tokens import Scope
from agent.cautions import cautions
from agent.commands import show
from agent.commands.place import as_json, now, tidy
from agent.configuration import config
from agent.configuration.brokers import BrokerConnection
from agent.configuration.crosschecks import POSTS
from agent.configuration.face_settings import OpcuaServer, SparkplugNode
from agent.configuration.settings import Accounts
from agent.errors import ErpError, Finding, SourceLost
from agent.ports import HasChannels, Kind

if TYPE_CHECKING:
    from agent.sources.mqtt_check import BrokerFacts
    from agent.sources.mqtt_config import Broker, MqttConfig

OPEN_S = 60.0
BENCH_MAKES = "var/bench/secrets/erp_password"  # the only one that the bench makes


@click.command()
@click.argument("file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--connect", is_flag=True, help="Also open each target and look at each broker; reads only.")
@as_json
def check(*, file: Path, connect: bool, json: bool) -> None:
    """Check a configuration: everything that is wrong, at once.

    Reads the file, the mappings, the units, the master data and the models, and says what would run. Connects nowhere
    unless --connect is given. Prints `file:line: path: message (value)`, never a secret.

    With --connect every target is opened ($metadata is read and judged), and every broker is looked at for the
    settings that the promise rests on; that sends 1 500 small messages to gatepost/check/… and takes them out again. To
    the brokers of a Sparkplug source and of the Sparkplug node nothing is sent: it is only seen whether the agent gets
    in and may read.

    \b
    Exit codes: 0 ok, 1 something did not answer or a broker setting is missing (--connect), 2 the configuration.
    \b
    Example:
      gatepost check edge_config/agent.yaml --connect
    """
    examined = config.examine(file, assembly.resolver())
    findings = [told(one, examined) for one in dict.fromkeys([*examined.findings, *contents.contents(examined)])]
    findings.sort(key=lambda finding: (finding.file != str(file), finding.file, finding.line))
    loaded = examined.config
    around = list(surroundings(loaded)) if connect and loaded is not None and not findings else []
    if json:
        told_ = {"findings": [asdict(one) for one in findings], "connect": around, "warnings": warnings(loaded)}
        show.data({"ok": not findings and not around, **told_})
    else:
        _print(file, loaded, findings, around, connect=connect)
    if findings:
        sys.exit(2)
    if around:
        sys.exit(1)


def warnings(loaded: config.Config | None) -> list[str]:
    """What is allowed in the workflows and should be known."""
    return [f"{name}: {one}" for name in loaded.workflows for one in cautions(loaded, name)] if loaded else []


def told(finding: Finding, examined: config.Examined) -> Finding:
    """The finding; a missing secret names its folder without `..`, and who makes it where it is the bench's."""
    written = examined.tree.get("secrets_dir") if examined.tree else None
    if written is None or not finding.message.startswith("the secret "):
        return finding
    folder = Path(written.file).parent / written.text
    message = finding.message.replace(str(folder), str(tidy(folder)))
    hint = "; `make run` makes it for the bench" if BENCH_MAKES in message and " is missing" in message else ""
    return replace(finding, message=message + hint)


def _print(
    file: Path, loaded: config.Config | None, findings: list[Finding], around: list[str], *, connect: bool
) -> None:
    for finding in findings:
        show.say(str(finding))
    if findings or loaded is None:
        show.say(f"{len(findings)} error{'s' * (len(findings) != 1)} in {file}")
        return
    would_run(loaded)
    for line in around:
        show.say(line)
    if around:
        show.say(f"the configuration is right, but there is something to mend around it: {len(around)}")
    else:
        show.say(f"ok: {file}, version {loaded.version}" + ("; everything answers" if connect else ""))


def would_run(loaded: config.Config) -> None:
    """What this configuration makes the agent do."""
    rows = []
    for name, flow in loaded.workflows.items():
        authority = loaded.authority_of(name)
        postings = loaded.target(flow.target).postings
        modes = ", ".join(f"{kind} {postings.mode(kind)}" for kind in POSTS.get(flow.kind, tuple(Kind)))
        limits = [f"confidence ≥ {authority.min_confidence}"] if flow.model else []
        limits += [f"value ≤ {authority.max_value} {loaded.plant.currency}"] if authority.max_value is not None else []
        limits += [f"{unit} ≤ {most}" for unit, most in authority.max_quantity.items()]
        limits += ["two people sign"] if authority.four_eyes else []
        below = [f"scored by {flow.model}" if flow.model else "not scored by a model"]
        if loaded.accounts is not None and Kind.SCRAP in POSTS.get(flow.kind, ()):
            below.append(_accounts(loaded.accounts))
        below += [f"held unless {', '.join(limits)}"] if limits else []
        below += [_writes(authority.mode, f"posts {modes} at {flow.target}")]
        below += [f"what is for role {role} goes to {target}" for role, target in flow.targets.items()]
        below += [f"WARNING: {caution}" for caution in cautions(loaded, name)]
        rows.append(([name, ", ".join(flow.mappings), authority.mode, flow.target], below))
    show.entries(["workflow", "reads", "authority", "target"], rows)
    show.say("")
    sources = (([one.name, one.kind], _about(one.settings)) for one in loaded.sources)
    show.entries(["source", "kind"], sources)
    show.say("")
    server = loaded.opcua_server
    if server is not None:
        warnings = [f"WARNING: {warning}" for warning in _nobody_enters(loaded, server)]
        show.entries(["OPC UA server", "security"], [([server.address, ", ".join(server.security)], warnings)])
        show.say("")
    node = loaded.sparkplug_node
    if node is not None:
        show.entries(["Sparkplug node", "brokers"], [([f"{node.group}/{node.node}", ", ".join(node.brokers)], [])])
        show.say("")


def _accounts(accounts: Accounts) -> str:
    """Who says to which account scrap goes."""
    looks = f", and {accounts.model} looks it over" if accounts.model else ""
    return f"{accounts.table.name} gives scrap its G/L account{looks}"


def _writes(mode: str, posting: str) -> str:
    """What the agent does at the target in this mode of authority."""
    if mode == "advise":
        return "writes nothing (advise)"
    return f"{posting} after a person's approval" if mode == "assist" else posting


def _nobody_enters(loaded: config.Config, server: OpcuaServer) -> Iterator[str]:
    """A warning and no error: a token is added by a reload, and until then everything else works."""
    tokens = loaded.api.tokens if loaded.api else ()
    if not server.anonymous and not any(identity_of(one).may(Scope.READ) for one in tokens):
        yield (
            "nobody can log in: no token under api.tokens has the scope read; make one with "
            "`gatepost token NAME --scope read`, or set anonymous: true"
        )


def _about(settings: object) -> list[str]:
    """What a source reads, and what is allowed but should be known."""
    return [
        *getattr(settings, "topics", ()),
        *(f"WARNING: {warning}" for warning in getattr(settings, "warnings", ())),
    ]


# ── --connect ───────────────────────────────────────────────────────────────────────────────────────────────


def surroundings(loaded: config.Config) -> Iterator[str]:
    """What does not answer, and which settings brokers lack; one line each."""
    yield from asyncio.run(_targets(loaded))
    for source in loaded.sources:
        if source.kind == "mqtt":
            yield from _brokers(source.name, source.settings)
        if source.kind == "sparkplug":
            yield from _sparkplug_brokers(source.name, source.settings)
        if source.kind == "opcua":
            yield from asyncio.run(_opcua_servers(source.name, source.settings, loaded))
    if loaded.sparkplug_node is not None:
        yield from _node_brokers(loaded.sparkplug_node)


async def _targets(loaded: config.Config) -> list[str]:
    """Open each target. What it would keep on disk goes into a folder that is thrown away."""
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        elsewhere = loaded.store.model_copy(update={"path": Path(folder) / loaded.store.path.name})
        for name, target in assembly.targets(loaded.model_copy(update={"store": elsewhere}), now).items():
            try:
                async with asyncio.timeout(OPEN_S):
                    await target.open()
                    if isinstance(target, HasChannels):
                        problems += [f"target {name}: {one}" for one in await target.unreachable()]
            except (ErpError, TimeoutError) as error:
                problems.append(f"target {name}: {error or f'no answer within {OPEN_S:.0f} s'}")
            finally:
                await target.close()
    return problems


def _brokers(name: str, settings: object) -> Iterator[str]:
    """Look at each broker of a source."""
    from agent.sources import mqtt_check, mqtt_config  # a site without MQTT needs no MQTT client

    if isinstance(settings, mqtt_config.MqttConfig):
        yield from _seen(f"source {name}", settings, mqtt_check.observe_broker)


def _sparkplug_brokers(name: str, settings: object) -> Iterator[str]:
    """Look at each broker of a source that wants no session there: only whether it gets in and may read."""
    from agent.sources import mqtt_check, sparkplug_config  # as above

    if isinstance(settings, sparkplug_config.SparkplugConfig):
        yield from _seen(f"source {name}", settings.connection(), mqtt_check.observe_door)


def _node_brokers(node: SparkplugNode) -> Iterator[str]:
    """Look at each broker of the Sparkplug node: whether it gets in, and may hear commands and its primary host."""
    from agent.edge_node import link as sparkplug_link  # as above
    from agent.sources import mqtt_check, mqtt_config

    shared = {name: getattr(node, name) for name in BrokerConnection.model_fields}
    settings = mqtt_config.MqttConfig.model_construct(
        **shared,
        name="node",
        client_id=sparkplug_link.client_id(node),
        topics=sparkplug_link.topics(node),
        max_payload_kb=sparkplug_link.MOST // 1024,
    )
    yield from _seen("sparkplug_node", settings, mqtt_check.observe_door)


def _seen(who: str, settings: MqttConfig, observe: Callable[[MqttConfig, Broker], BrokerFacts]) -> Iterator[str]:
    from agent.sources import mqtt_check, mqtt_retry  # as above

    for broker in settings.endpoints:
        where = f"{who}: broker {broker.host}:{broker.port}"
        try:
            facts = observe(settings, broker)
        except (SourceLost, OSError) as error:
            yield f"{where}: {mqtt_retry.plain(error, settings) if isinstance(error, OSError) else error}"
            continue
        for missing in mqtt_check.missing_broker_settings(settings, broker, facts):
            yield f"{where}: {missing}"


async def _opcua_servers(name: str, settings: object, loaded: config.Config) -> list[str]:
    """Look at each server of a source."""
    from agent.sources import opcua_check, opcua_config, opcua_security  # a site without OPC UA needs no client for it

    if not isinstance(settings, opcua_config.OpcuaConfig):
        return []
    certificates = opcua_security.Certificates(settings.certificates or loaded.store.path.parent / "opcua")
    return [
        f"source {name}: {url}: {line}"
        for url in settings.endpoints
        async for line in opcua_check.missing(settings, url, certificates, now())
    ]
