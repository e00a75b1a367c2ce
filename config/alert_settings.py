"""The settings of alerts, as the configuration file writes them. Sends nothing and resolves no secret.

A channel's address is a secret: whoever knows it can write into the room behind it.
"""

# Annotations are evaluated at once (no postponed ones): pydantic reads them.

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from config.limits import Between
from gateway.core.duration import Duration
from gateway.core.rules import FORBID_UNKNOWN_KEYS
from gateway.core.secret import SecretRef

CHANNELS_MAX: Final = 8
MENTIONS_MAX: Final = 20
#: The robots take 20 messages a minute.
EVERY_MIN: Final = Duration("3 s")

ChannelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Mention = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,64}$")]
AlertKind = Literal["parked", "approval", "link_down", "degraded"]
ALERT_KINDS: Final[tuple[AlertKind, ...]] = ("parked", "approval", "link_down", "degraded")

_Timeout = Annotated[Duration, Between(Duration("1 s"), Duration("20 s"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """One room or program that hears of what needs a person.

    Attributes:
        kind: dingtalk: a robot of a DingTalk group; wecom: a robot of a WeCom group; webhook: JSON to any address.
        url: where its whole address is, with access_token or key: it is a secret.
        secret: what messages are signed with: the robot's (dingtalk), or one of your own (webhook).
        token: bearer token of a webhook.
        format: of a robot's message; text cannot be misread as links or layout. wecom mentions people in text only.
        mention: dingtalk: mobile numbers, wecom: user ids; all: everybody.
        tell: what this channel hears of.
        ca_file: certificates of the authority that signed the server's; default: the system's.
        insecure: allows http:// to another machine: address and message would be readable on the network.
        timeout: for connecting and the whole answer.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    kind: Literal["dingtalk", "wecom", "webhook"]
    url: SecretRef
    secret: SecretRef | None = None
    token: SecretRef | None = None
    format: Literal["text", "markdown"] = "text"
    mention: Annotated[tuple[Mention, ...], Field(max_length=MENTIONS_MAX)] = ()
    tell: Annotated[tuple[AlertKind, ...], Field(min_length=1, max_length=len(ALERT_KINDS))] = ALERT_KINDS
    ca_file: str | None = None
    insecure: bool = False
    timeout: _Timeout = Duration("10 s")

    def __post_init__(self) -> None:
        """A key that this kind has no use for would do nothing."""
        if self.kind == "wecom" and self.secret is not None:
            raise ValueError("secret: found one, allowed with kind: dingtalk or webhook; a WeCom robot has a key only")
        if self.kind != "webhook" and self.token is not None:
            raise ValueError("token: found one, allowed with kind: webhook; a robot has its token in the url")
        if self.kind == "webhook" and (self.mention or self.format != "text"):
            raise ValueError("mention, format: found with kind: webhook, allowed with a robot; a webhook gets JSON")
        if self.kind == "wecom" and self.mention and self.format == "markdown":
            raise ValueError("format: found markdown with mention, allowed: text; WeCom mentions nobody in markdown")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """Who hears of what needs a person, and how often.

    Attributes:
        channels: by name.
        every: a channel gets at most one message in this time; it says everything that came meanwhile.
        link_down_after: so long nothing can be delivered to an ERP, or no orders be asked for, before it is told.
        resolved_after: so long something must be over before it is told as resolved; less, and it never was.
        backoff_max: the longest pause between two attempts to reach a channel.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    channels: Annotated[dict[ChannelName, ChannelSettings], Field(min_length=1, max_length=CHANNELS_MAX)]
    every: Annotated[Duration, Between(EVERY_MIN, Duration("1 d"))] = Duration("5 min")
    link_down_after: Annotated[Duration, Between(Duration("0 s"), Duration("7 d"))] = Duration("5 min")
    resolved_after: Annotated[Duration, Between(Duration("0 s"), Duration("1 d"))] = Duration("1 min")
    backoff_max: Annotated[Duration, Between(Duration("5 s"), Duration("1 d"))] = Duration("15 min")
