"""What must be right between the parts of a configuration: pure functions from a configuration to findings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from ipaddress import ip_address
from itertools import combinations, product, zip_longest
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from agent import own_events
from agent.configuration.settings import LiveKind, PostingMode, Source, Target, Workflow
from agent.errors import Finding
from agent.ports import Kind, TakesSomeKinds
from agent.shares import both
from agent.strict.schema import did_you_mean
from agent.strict.yamltree import Node

Findings = Iterator[Finding]
POSTS = {  # other workflows: any kind
    "consumption": (Kind.GOODS_ISSUE,),
    "confirmation": (Kind.CONFIRMATION,),
    "backflush": (Kind.GOODS_ISSUE,),
    "scrap": (Kind.SCRAP, Kind.DEFECT, Kind.STOCK_TRANSFER, Kind.BATCH_STATUS, Kind.ORDER_NOTE),
    "reconciliation": (
        Kind.GOODS_ISSUE,
        Kind.REVERSAL,
        Kind.CONFIRMATION,
        Kind.COUNT_DOCUMENT,
        Kind.COUNT_ENTRY,
        Kind.COUNT_DIFFERENCE,
    ),
}
ABOUT_OPERATIONS = (  # workflows whose reports are of an operation of an order
    "consumption",
    "confirmation",
    "backflush",
    "scrap",
)


class Wiring(Protocol):
    """The parts that could be read, and the file they came from. A `Config` is one; so is half a configuration."""

    @property
    def tree(self) -> Node:
        """The file."""

    @property
    def targets(self) -> Sequence[Target]:
        """The targets without errors of their own."""

    @property
    def workflows(self) -> Mapping[str, Workflow]:
        """The workflows without errors of their own."""


def unique_names(wiring: Wiring) -> Findings:
    """Sources, targets and tokens have names of their own."""
    for part in (("sources",), ("targets",), ("api", "tokens")):
        for name, line in _repeated(_values(wiring.tree.get(*part), "name")):
            yield name.finding(f"is the name of another one in line {line}; give each its own")


def no_source_is_the_agent(wiring: Wiring) -> Findings:
    """What the agent itself notices has a source of its own."""
    for name in _values(wiring.tree.get("sources"), "name"):
        if name.text == own_events.SOURCE:
            yield name.finding("is the source of what the agent itself notices; choose another name")


def unique_tokens(wiring: Wiring) -> Findings:
    """No two names share a token: nobody could say who acted."""
    for digest, line in _repeated(_values(wiring.tree.get("api", "tokens"), "sha256")):
        yield digest.finding(f"is the token in line {line} too; make one of its own with `gatepost token`", "")


def gateways_can_sign(wiring: Wiring) -> Findings:
    """A gateway decides by its signing secret alone, nobody else has one, and somebody's role may do something."""
    for token in _items(wiring.tree.get("api", "tokens")):
        scopes, secret = token.get("scopes"), token.get("signing_secret")
        is_gateway = "gateway" in [one.text for one in (scopes.items if scopes else ())]
        if scopes is not None and is_gateway and secret is None:
            yield scopes.finding(
                "a gateway needs a signing_secret, which its library has too: add it to this token", ""
            )
        if scopes is not None and is_gateway and not _items(wiring.tree.get("rights")):
            yield scopes.finding("nobody could sign at this gateway: say under rights what which role may do", "")
        too = [one.text for one in (scopes.items if scopes else ()) if one.text in ("approve", "admin")]
        if scopes is not None and is_gateway and too:
            yield scopes.finding(
                f"a gateway decides only with what a person signed: {too[0]} would let its token decide alone; give "
                "that scope to a token of its own",
                "",
            )
        if secret is not None and not is_gateway:
            yield secret.finding("is for the scope gateway only; add that scope, or leave this out", "")


def known_targets(wiring: Wiring) -> Findings:
    """Whoever names a target names one that exists."""
    known = [name.text for name in _values(wiring.tree.get("targets"), "name")]
    workflows = wiring.tree.get("workflows")
    users = [*(workflows.mapping.values() if workflows else ()), *_items(wiring.tree.get("sources"))]
    if (told := wiring.tree.get("shortages", "notify")) is not None:
        users.append(told)
    for user in users:
        others = user.get("targets")
        for target in (user.get("target"), *(others.mapping.values() if others else ())):
            if target is not None and target.children is None and target.text not in known:
                yield target.finding(f"there is no such target; {did_you_mean(target.text, known)}")


def targets_take_their_postings(wiring: Wiring) -> Findings:
    """What is switched on is taken by its target."""
    nodes = {name.text: node for node in _items(wiring.tree.get("targets")) if (name := node.get("name")) is not None}
    for target in wiring.targets:
        if not isinstance(target.settings, TakesSomeKinds):
            continue
        for kind, remedy in target.settings.switched_off().items():
            mode, node = target.postings.mode(kind), nodes[target.name].get("postings", kind.value)
            if node is not None and mode is not PostingMode.OFF:
                yield node.finding(
                    f"is on, but target {target.name} takes none: {remedy}, or switch it off", mode.value
                )


def shortages_are_told(wiring: Wiring) -> Findings:
    """The target that shall tell of shortages may."""
    node = wiring.tree.get("shortages", "notify", "target")
    for one in wiring.targets:
        if node is not None and one.name == node.text and one.postings.mode(Kind.NOTIFICATION) is PostingMode.OFF:
            yield node.finding(f"nobody would be told: notification is off at {one.name}; name one of kind notify", "")


def known_authority(wiring: Wiring) -> Findings:
    """Authority is given to workflows that exist."""
    workflows, authority = wiring.tree.get("workflows"), wiring.tree.get("authority")
    known = list(workflows.mapping) if workflows else []
    for name, node in authority.mapping.items() if authority else ():
        if name not in known:
            yield node.finding(f"there is no such workflow; {did_you_mean(name, known)}", "")


def somebody_can_be_told(wiring: Wiring) -> Findings:
    """Whom an escalation or a stuck posting tells is told by a target."""
    authority, workflows = wiring.tree.get("authority"), wiring.tree.get("workflows")
    for name, rule in authority.mapping.items() if authority else ():
        flow = workflows.get(name) if workflows else None
        for to in (rule.get("escalate_to"), rule.get("stuck_to")):
            if to is not None and flow is not None and flow.get("targets", "notify") is None:
                yield to.finding(f"nobody could be told: name a target for notify under workflows.{name}.targets", "")
        late = rule.get("escalate_to")
        hours = rule.get("escalate_hours") or rule.get("expire_hours")
        if late is not None and flow is not None and hours is None:
            why = "nobody would be told: say after how many hours, with escalate_hours or expire_hours"
            yield late.finding(why, "")


def told_once(wiring: Wiring) -> Findings:
    """Each live fact is told by one tag: two could contradict each other."""
    seen: dict[tuple[str, str], Node] = {}
    for one in live_facts(wiring):
        fact, of = one.get("fact"), one.get("of")
        if fact is None or of is None:
            continue
        first = seen.setdefault((fact.text, of.text), one)
        if first is not one:
            yield one.finding(f"tells {fact.text} of {of.text} as line {first.line} does; leave out one of the two", "")


def fresh_facts_are_told(wiring: Wiring) -> Findings:
    """What a decision wants to be fresh is told by a tag; otherwise everything would be held."""
    told = {fact.text for one in live_facts(wiring) if (fact := one.get("fact")) is not None}
    for kind, node in fresh_facts(wiring):
        if kind not in told and kind in list(LiveKind):
            yield node.finding(
                f"no source tells the {kind} of any work centre, so every report would be held; declare it under live "
                "of a source of tags, or leave it out here",
                "",
            )


def fresh_where_reported(wiring: Wiring, work_centers: Collection[str]) -> Findings:
    """The same for every work centre of the master data (`work_centers`), and the other way round."""
    told: dict[str, set[str]] = {}
    for one in live_facts(wiring):
        fact, of = one.get("fact"), one.get("of")
        if fact is None or of is None:
            continue
        place = of.text.partition("/")[0]
        told.setdefault(fact.text, set()).add(place)
        if place and place not in work_centers:
            yield of.finding(f"there is no work centre {place}; {did_you_mean(place, sorted(work_centers))}")
    for kind, node in fresh_facts(wiring):
        if kind in told and (silent := sorted(set(work_centers) - told[kind])):
            yield node.finding(
                f"no source tells the {kind} of {', '.join(silent)}, so all reports from there would be held; declare "
                "it under live of a source of tags, or leave it out here",
                "",
            )


def too_short_for_sources(wiring: Wiring, sources: Sequence[Source]) -> Findings:
    """No fact must be fresher than its source can vouch for it while nothing changes (`vouches_s` of its settings)."""
    for kind, node in fresh_facts(wiring):
        for source in sources:
            least = getattr(source.settings, "vouches_s", 0.0)
            tells = any(one.fact == kind for one in getattr(source.settings, "live", ()))
            if tells and node.text.isdecimal() and int(node.text) < least:
                yield node.finding(
                    f"is shorter than {least:g} s, after which source {source.name} surely has vouched for it although "
                    "nothing changes; allow more, or let the source ask more often (docs/live.md)"
                )


def fresh_facts(wiring: Wiring) -> Iterator[tuple[str, Node]]:
    """Every live fact that authority asks for."""
    rules = wiring.tree.get("authority")
    for rule in rules.mapping.values() if rules else ():
        needs = rule.get("needs_fresh")
        yield from (needs.mapping.items() if needs else ())


def live_facts(wiring: Wiring) -> Iterator[Node]:
    """Every live fact that a source declares."""
    for source in _items(wiring.tree.get("sources")):
        yield from _items(source.get("live"))


def no_double_consumption(wiring: Wiring) -> Findings:
    """Components are issued by one workflow alone: `consumption`, `backflush`, or confirmations that backflush."""
    issuing = [name for name, flow in _of_kind(wiring, "consumption") if _live(wiring, flow, Kind.GOODS_ISSUE)]
    ahead = [
        name
        for name, flow in _of_kind(wiring, "backflush")
        if _live(wiring, flow, Kind.GOODS_ISSUE) and _writes(wiring, name)
    ]
    for name, flow in _of_kind(wiring, "confirmation"):
        others = issuing + ahead
        if others and getattr(flow.options, "backflush", False) and _live(wiring, flow, Kind.CONFIRMATION):
            node = _place(wiring.tree, ("workflows", name, "options", "backflush"))
            yield node.finding(
                f"would consume twice: workflow {others[0]!r} posts goods issues live and these confirmations"
                " backflush; set backflush: false, or goods_issue: off at the target"
            )
    for one, name in product([name for name in issuing if _writes(wiring, name)], ahead):
        shares = (getattr(wiring.workflows[each].options, "issues", ()) for each in (one, name))
        if what := both(*shares):
            yield _place(wiring.tree, ("workflows", name, "options", "issues")).finding(
                f"would consume twice: workflow {one!r} posts goods issues of {what} live, and so does this one; say"
                " under options.issues of both who issues what, or set the authority of one of them to advise",
                "",
            )


def _writes(wiring: Wiring, workflow: str) -> bool:
    """Whether its authority lets it post at all; absent it is `advise`."""
    mode = wiring.tree.get("authority", workflow, "mode")
    return mode is not None and mode.text != "advise"


def no_plain_http(wiring: Wiring) -> Findings:
    """What goes to an ERP goes over TLS, except on this machine."""
    targets = wiring.tree.get("targets")
    for node in targets.scalars() if targets else ():
        if node.text.lower().startswith("http://") and not _is_loopback(node.text):
            yield node.finding("is not encrypted; use https:// for everything but this machine itself")


def no_url_credentials(wiring: Wiring) -> Findings:
    """No URL carries a user or password: URLs are printed and logged."""
    for node in wiring.tree.scalars():
        before, separator, rest = node.text.partition("://")
        if separator and before.isidentifier() and "@" in rest.split("/")[0]:
            yield node.finding("carries credentials; write the user and {secret: NAME} as keys of their own")


def no_shared_topics(wiring: Wiring) -> Findings:
    """No message reaches the agent by two subscriptions: topic filters on one broker do not overlap."""
    for (one, mine), (other, theirs) in combinations(list(_subscriptions(wiring)), 2):
        if mine and theirs and not mine & theirs:
            continue
        if overlap(one.text, other.text):
            yield other.finding(f"overlaps {one.text!r} in line {one.line}; a message would arrive twice")


def existing_paths(wiring: Wiring) -> Findings:
    """Files and folders that the file names are there; a folder of secrets may come later, a missing secret is told."""
    for keys, what, there in (
        (("mappings",), "folder", Path.is_dir),
        (("masterdata",), "folder", Path.is_dir),
        (("models",), "folder", Path.is_dir),
        (("model_keys",), "folder", Path.is_dir),
        (("units",), "file", Path.is_file),
        (("accounts", "table"), "file", Path.is_file),
    ):
        node = wiring.tree.get(*keys)
        if node is not None and node.text and not there(Path(node.file).parent / node.text):
            yield node.finding(f"there is no such {what}")


CHECKS: tuple[Callable[[Wiring], Findings], ...] = (
    unique_names,
    no_source_is_the_agent,
    unique_tokens,
    gateways_can_sign,
    known_targets,
    shortages_are_told,
    targets_take_their_postings,
    known_authority,
    somebody_can_be_told,
    told_once,
    fresh_facts_are_told,
    no_double_consumption,
    no_plain_http,
    no_url_credentials,
    no_shared_topics,
    existing_paths,
)


def live_without_identity(wiring: Wiring, kinds: Collection[str]) -> Findings:
    """Message kinds without an identity of their own (`kinds`, from the mappings) are not posted live.

    Two equal weighings would be taken for one message.
    """
    for name, flow in wiring.workflows.items():
        posts = POSTS.get(flow.kind, tuple(Kind))
        live = [kind.value for kind in posts if _live(wiring, flow, kind)]
        for unknown in flow.mappings:
            if unknown in kinds and live:
                yield _place(wiring.tree, ("workflows", name, "mapping")).finding(
                    f"messages of kind {unknown!r} have no identity, and {live[0]} is live at target {flow.target!r};"
                    " let the mapping say what makes a message unique, or set the posting to dry-run",
                    "",
                )


def overlap(one: str, other: str) -> bool:
    """Whether a topic can match both MQTT filters (MQTT 5, section 4.7)."""
    for mine, theirs in zip_longest(_levels(one), _levels(other)):
        if "#" in (mine, theirs):
            return True
        if mine is None or theirs is None or ("+" not in (mine, theirs) and mine != theirs):
            return False
    return True


def _levels(topic_filter: str) -> list[str]:
    levels = topic_filter.split("/")
    return levels[2:] if levels[0] == "$share" else levels


def _subscriptions(wiring: Wiring) -> Iterator[tuple[Node, set[str]]]:
    """Every topic filter with the brokers it is subscribed at."""
    for source in _items(wiring.tree.get("sources")):
        brokers = {broker.text for broker in _items(source.get("brokers"))}
        yield from ((topic, brokers) for topic in _items(source.get("topics")) if topic.children is None)


def _items(node: Node | None) -> Sequence[Node]:
    return node.items if node else ()


def _values(node: Node | None, key: str) -> Iterator[Node]:
    yield from (value for item in _items(node) if (value := item.get(key)) is not None and value.text)


def _repeated(nodes: Iterator[Node]) -> Iterator[tuple[Node, int]]:
    """What stood before, and in which line."""
    seen: dict[str, int] = {}
    for node in nodes:
        if node.text in seen:
            yield node, seen[node.text]
        seen.setdefault(node.text, node.line)


def _of_kind(wiring: Wiring, kind: str) -> Iterator[tuple[str, Workflow]]:
    yield from ((name, flow) for name, flow in wiring.workflows.items() if flow.kind == kind)


def _live(wiring: Wiring, flow: Workflow, kind: Kind) -> bool:
    return any(
        target.name == flow.target and target.postings.mode(kind) is PostingMode.LIVE for target in wiring.targets
    )


def _place(tree: Node, path: Sequence[str]) -> Node:
    """The node at the path, or the nearest one above it that the file has."""
    for length in range(len(path), 0, -1):
        node = tree.get(*path[:length])
        if node is not None:
            return node
    return tree


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name that is no address
        return False
