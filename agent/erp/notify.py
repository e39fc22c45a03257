"""People as a target: each notification goes through the channels of the roles that it is for, at least once.

No channel can be asked whether a message arrived, so a doubtful one is sent again under the same id; who receives it
twice knows it by that. What a channel has taken already is not sent to it again while the agent runs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from agent.channels.mail import Mail, MailConfig
from agent.channels.message import Channel, Message, refusals
from agent.channels.topic import Topic, TopicConfig
from agent.channels.webhook import Webhook, WebhookConfig
from agent.errors import ErpError, ErpInDoubt, ErpRejected, ErpUnavailable
from agent.ports import Acknowledgement, Clock, Kind, Patience, Posting, Surroundings
from agent.strict.schema import Name, Settings

ChannelConfig = Annotated[TopicConfig | WebhookConfig | MailConfig, Field(discriminator="kind")]
AGAIN: Final = "Nobody has reacted: "
MOST_REMEMBERED: Final = 1000  # messages that some of their channels have


class NotifyConfig(Settings):
    """Who is told, by which channels, and who is next where nobody reacts."""

    fixed_fields: ClassVar[tuple[str, ...]] = ()  # what is open may be told elsewhere, too: it keeps its id

    kind: Literal["notify"] = Field(default="notify", description="notify")
    name: Name = Field(description="How workflows, metrics and `gatepost pause` call it")
    channels: Mapping[Name, ChannelConfig] = Field(min_length=1, description="Name → a way to reach people")
    people: Mapping[Name, tuple[str, ...]] = Field(
        min_length=1,
        description="Role → where its people are reached, all of it: CHANNEL:ADDRESS, for a webhook CHANNEL alone",
    )
    otherwise: Name = Field(description="The role that is told what is for a role nobody has here")
    next: Mapping[Name, Name] = Field(
        default={}, description="Role → who is told next where nobody reacts within `escalate_minutes`"
    )
    escalate_minutes: float = Field(
        default=30, gt=0, le=10_080, description="So long nobody reacted to a warning or an alarm: `next` is told"
    )
    repeat_minutes: float = Field(
        default=60, ge=0, le=10_080, description="The same cause within so many minutes is one notification; 0: each is"
    )
    link: str = Field(
        default="", description="What stands before a link that has no host, as https://gatepost.plant.example/console/"
    )
    settle_s: float = Field(
        default=5, gt=0, le=600, description="Seconds from a lost answer to the next try, twice"
    )  # fmt: skip

    @model_validator(mode="after")
    def _everybody_can_be_reached(self) -> Self:
        wrong = [f"otherwise: there is no role {self.otherwise!r} under people"] * (self.otherwise not in self.people)
        named = {one for pair in self.next.items() for one in pair}
        wrong += [f"next: there is no role {one!r} under people" for one in sorted(named - set(self.people))]
        for role, places in self.people.items():
            wrong += [f"people: {role} has no address"] * (not places)
            wrong += [f"people: {role}: {why}" for place in places if (why := self._refusal(place))]
        if wrong:
            raise ValueError("; ".join(wrong[:20]))
        return self

    def _refusal(self, place: str) -> str:
        channel, _, address = place.partition(":")
        known = self.channels.get(channel)
        return known.refusal(address) if known is not None else f"there is no channel {channel!r}"

    def places(self, roles: Sequence[str]) -> dict[str, list[str]]:
        """Channel → addresses of these roles, each once."""
        found: dict[str, list[str]] = {}
        for role in roles:
            for place in self.people.get(role, self.people[self.otherwise]):
                channel, _, address = place.partition(":")
                addresses = found.setdefault(channel, [])
                if address not in addresses:
                    addresses.append(address)
        return found


class Notify:
    """An ErpTarget for postings of kind ``notification``."""

    lookup_reliable = True  # nothing can be found, and sending it again does no harm

    def __init__(self, config: NotifyConfig, *, clock: Clock) -> None:
        self.config = config
        self.name = config.name
        self.settle_seconds = config.settle_s
        self._channels = {name: _made(one, clock) for name, one in config.channels.items()}
        self._trouble: dict[str, str] = {}  # channel → why it did not work the last time
        self._taken: OrderedDict[str, set[str]] = OrderedDict()  # key → channels that have it

    @classmethod
    def of(cls, config: NotifyConfig, around: Surroundings) -> Notify:
        """Made by the app."""
        return cls(config, clock=around.clock)

    async def open(self) -> None:
        """Nothing need be read; each channel is reached when there is something to tell."""

    async def unreachable(self) -> Sequence[str]:
        """Which channels do not answer now, for `gatepost check --connect`; tells nobody anything."""
        found = []
        for name, channel in self._channels.items():
            try:
                await channel.reach()
            except ErpUnavailable as error:
                found.append(f"{name}: {error}")
        return found

    async def close(self) -> None:
        """Leave the brokers."""
        for channel in self._channels.values():
            await channel.close()

    def check(self, kind: Kind, payload: Mapping[str, Any]) -> Sequence[str]:
        """What cannot be told; empty: nothing. Pure."""
        return refusals(payload) if kind is Kind.NOTIFICATION else [f"{self.name} tells people; it takes no {kind}"]

    def freeze(self, posting: Posting) -> bytes:
        """What is told, now and at every retry. Where its roles are reached is looked up when it is sent. Pure."""
        return Message.of(posting, self.config.link).json()

    def in_its_words(self, kind: Kind, payload: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
        """What people will read. Pure."""
        if kind is not Kind.NOTIFICATION:
            return ()
        said = [("to", ", ".join(payload.get("to", ()))), *((one, str(payload.get(one) or "")) for one in _SHOWN)]
        return [(name, text) for name, text in said if text]

    def patience(self, payload: Mapping[str, Any]) -> Patience:
        """How long its cause is told once; what is only worth knowing needs no reaction. Pure."""
        once = timedelta(minutes=self.config.repeat_minutes)
        waits = payload.get("severity") != "info" and any(role in self.config.next for role in self._roles(payload))
        return Patience(once, timedelta(minutes=self.config.escalate_minutes) if waits else None)

    def next(self, payload: Mapping[str, Any], waited: timedelta) -> dict[str, Any] | None:
        """The same to who is next, with who was told before. Pure."""
        roles = self._roles(payload)
        following = list(dict.fromkeys(self.config.next[role] for role in roles if role in self.config.next))
        if not following:
            return None
        minutes = round(waited.total_seconds() / 60)
        said = f"{' and '.join(roles)} heard of this {minutes} min ago, and nobody has reacted."
        subject = str(payload["subject"]).removeprefix(AGAIN)
        return {**payload, "to": following, "subject": AGAIN + subject, "text": f"{said}\n{payload['text']}"}

    def _roles(self, payload: Mapping[str, Any]) -> list[str]:
        """Who was told."""
        return [role if role in self.config.people else self.config.otherwise for role in payload["to"]]

    async def post(self, posting: Posting) -> Acknowledgement:
        """Through every channel of its roles. Raises ErpUnavailable, ErpInDoubt, ErpRejected (by all)."""
        if posting.wire is None:
            raise ValueError(f"posting {posting.id} was not frozen before it was sent")
        message, failed = Message.thawed(posting.wire), dict[str, ErpError]()
        taken = self._taken.setdefault(message.id, set())
        warnings = [
            f"nobody has the role {role} here: told to {self.config.otherwise}"
            for role in message.to
            if role not in self.config.people
        ]
        for name, addresses in self.config.places(message.to).items():
            if name in taken:
                continue
            try:
                warnings += await self._channels[name].send(message, addresses)
            except ErpError as error:
                failed[name] = error
            else:
                taken.add(name)
            self._remember(name, failed.get(name))
        self._forget_old()
        later = [one for one in failed.values() if not isinstance(one, ErpRejected)]
        if later or not taken:
            raise _told(failed, later)
        self._taken.pop(message.id, None)
        refused = [f"{name}: {error}" for name, error in failed.items()]
        return Acknowledgement(f"{'+'.join(sorted(taken))}/{message.id}", warnings=(*warnings, *refused))

    async def find(self, posting: Posting) -> Acknowledgement | None:
        """None: no channel can be asked. It is sent again under the same id."""
        return None

    def status(self) -> Mapping[str, Any]:
        """``connected``, ``error``, and the channels that did not work the last time."""
        return {
            "connected": not self._trouble,
            "error": "; ".join(f"{name}: {why}" for name, why in self._trouble.items()),
            "channels": {name: self._trouble.get(name, "") or "ok" for name in self._channels},
        }

    def _remember(self, channel: str, error: ErpError | None) -> None:
        """A refusal of one message is no trouble of its channel."""
        self._trouble.pop(channel, None)
        if error is not None and not isinstance(error, ErpRejected):
            self._trouble[channel] = str(error)

    def _forget_old(self) -> None:
        while len(self._taken) > MOST_REMEMBERED:
            self._taken.popitem(last=False)


_SHOWN: Final = ("severity", "subject", "text", "link")


def _made(config: TopicConfig | WebhookConfig | MailConfig, clock: Clock) -> Channel:
    if isinstance(config, TopicConfig):
        return Topic(config)
    return Webhook(config, clock) if isinstance(config, WebhookConfig) else Mail(config)


def _told(failed: Mapping[str, ErpError], later: Sequence[ErpError]) -> ErpError:
    """The error of the whole: try later where that may help, look again where one may have it, else it is refused."""
    words = "; ".join(f"{name}: {error}" for name, error in failed.items())
    code = next((one.code for one in failed.values() if one.code), "")
    if any(isinstance(one, ErpInDoubt) for one in later):
        return ErpInDoubt(words, code=code)
    if later:
        wait = max((one.retry_after for one in later if one.retry_after), default=None)
        return ErpUnavailable(words, scope="lane", code=code, retry_after=wait)
    return ErpRejected(words, code=code)
