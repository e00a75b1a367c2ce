"""The settings of a gateway, as the configuration file writes them and as the program uses them.

These classes are at the same time the schema of the file. What a source or a connector needs beyond the keys that all
have in common is declared by its driver or connector, not here. Reads no file.
"""

# Annotations are evaluated at once (no postponed ones): pydantic reads them.

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from config.alert_settings import AlertSettings
from config.api_settings import ApiSettings
from config.backup_settings import BackupSettings
from config.bytesize import ByteSize
from config.errors import KeyPath, Place
from config.limits import Between, known_timezone
from config.secrets import SecretStore
from gateway.core.calendar.time_of_day import TimeOfDay
from gateway.core.duration import Duration
from gateway.core.host import is_loopback
from gateway.core.rules import FORBID_UNKNOWN_KEYS, WorkUnitRules
from gateway.core.rules_calendar import CalendarRule
from gateway.core.rules_confirming import RetentionRule
from gateway.core.secret import SecretRef
from gateway.trial.cases import RuleTest

SOURCES_MAX: Final = 256
WORK_UNITS_MAX: Final = 256
CALENDARS_MAX: Final = 32
CONNECTORS_MAX: Final = 16
TESTS_MAX: Final = 500
MQTT_PORT: Final = 1883
MQTT_TLS_PORT: Final = 8883

#: Names that go into topics, signals and file names.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
#: A sentence, so that a failing test says what is wrong.
TestName = Annotated[str, Field(pattern=r"^[^\n]{1,200}$")]
TopicLevel = Annotated[str, Field(pattern=r"^[^/+#]{0,64}$")]
Port = Annotated[int, Field(ge=1, le=65535)]

_Backoff = Annotated[Duration, Between(Duration("1 s"), Duration("15 min"))]
_Patience = Annotated[Duration, Between(Duration("1 min"), Duration("30 d"))]
_Pace = Annotated[Duration, Between(Duration("100 ms"), Duration("1 d"))]
_BUFFER_SIZE: Final = ByteSize("2 GiB")
_RESERVE_SIZE: Final = ByteSize("4 MiB")
_EVENTS_SIZE: Final = ByteSize("64 MiB")
_EVENTS_SIZE_MIN: Final = ByteSize("256 KiB")
_AT_NIGHT: Final = TimeOfDay("02:30")
_Keep = Annotated[Duration, Between(Duration("1 h"), Duration("3650 d"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Who this gateway is.

    Attributes:
        id: name of the gateway in topics, messages and file names; letters, digits, - and _.
        plant: the plant's code, as the ERP writes it; a level of every topic (no /, + or #).
        line: the production line; a level of every topic if given.
        timezone: IANA name of the plant's time zone, for shifts and posting dates.
        clock: trust: the system's clock is right unless it is impossible; auto: only once a time server keeps it.
        profile: regulated (21 CFR 11, EU Annex 11): every decision is a user's, with its reason where one belongs; a
            release of a hold, an approval beyond a tolerance and a release of a confirmation are signed with the
            passphrase. standard: only a correction after the final confirmation is signed.
        anchor_file: the daily anchors of the audit trail, added and held against it; best on another disk.
        state_dir: folder of everything that must survive a power cut; relative to the working directory.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    id: Name
    plant: Annotated[TopicLevel, Field(min_length=1)]
    line: TopicLevel = ""
    timezone: Annotated[str, AfterValidator(known_timezone)] = "UTC"
    clock: Literal["auto", "trust"] = "trust"
    profile: Literal["standard", "regulated"] = "standard"
    anchor_file: Path | None = None
    state_dir: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateUse:
    """A template, with what it leaves open filled in.

    Attributes:
        name: a template of the driver, or a path that ends in .yaml, relative to the configuration.
        with: parameter to value, as the template names them.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    name: str
    with_: Annotated[dict[str, bool | int | float | str], Field(alias="with")] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SourceCommon:
    """Keys that every source has, whatever its driver.

    Attributes:
        template: signals and defaults of a kind of device; the source's own keys and signals win.
        stale_after: silence longer than this counts as a lost link; without it the supervisor decides.
        values_stale_after: no value for this long counts as a lost link, though the device shows signs of life;
            longer than the machine is ever idle; without it signs of life are enough.
        backoff_max: the longest pause between two attempts to connect.
    """

    template: str | TemplateUse | None = None
    stale_after: _Pace | None = None
    values_stale_after: _Pace | None = None
    backoff_max: _Backoff = Duration("60 s")


@dataclass(frozen=True, kw_only=True)
class ConnectorCommon:
    """Keys that every connector has, whatever it speaks.

    Attributes:
        poll_orders: how often new orders are asked for.
        orders: whether orders are fetched from it.
        orders_elsewhere: what becomes of an order none of whose work centers is one of this gateway's: refuse (the
            status shows it, and the target is answered where it takes answers) or ignore (another gateway takes it).
        confirmations: whether confirmations are sent to it.
        backoff_max: the longest pause between two attempts to send.
        parallel_lanes: how many operations may be confirmed at the same time.
        wait_precondition: pause before a confirmation is repeated that had to wait for another one.
        auth_probe: how often a target that refused the credentials is asked again.
        late_after: from the last piece of a confirmation to the ERP's answer; the status says what takes longer.
        ask_accepted: longest pause between two questions whether what the target has accepted is booked; the first one
            comes after half a second, and each pause is twice the one before.
        accepted_limit: after so long accepted and not booked it waits for a person.
        busy_limit: after so long locked at the target it waits for a person.
        wait_limit: after so long without its precondition it waits for a person.
        unclear_limit: after so long that the target's answers neither prove nor exclude it waits for a person.
        backlog_rate: a second at most of those that have waited for more than five minutes; None: no limit.
    """

    poll_orders: _Pace = Duration("10 s")
    orders: bool = True
    orders_elsewhere: Literal["refuse", "ignore"] = "refuse"
    confirmations: bool = True
    backoff_max: _Backoff = Duration("60 s")
    parallel_lanes: Annotated[int, Field(ge=1, le=32)] = 4
    wait_precondition: Annotated[Duration, Between(Duration("1 s"), Duration("1 d"))] = Duration("15 min")
    auth_probe: Annotated[Duration, Between(Duration("1 s"), Duration("1 d"))] = Duration("15 min")
    late_after: Annotated[Duration, Between(Duration("1 s"), Duration("30 d"))] = Duration("1 h")
    ask_accepted: Annotated[Duration, Between(Duration("1 s"), Duration("1 d"))] = Duration("30 s")
    accepted_limit: _Patience = Duration("8 h")
    busy_limit: _Patience = Duration("4 h")
    wait_limit: _Patience = Duration("8 h")
    unclear_limit: _Patience = Duration("10 min")
    backlog_rate: Annotated[int, Field(ge=1, le=10_000)] | None = None


@dataclass(frozen=True, kw_only=True)
class SourceSettings(SourceCommon):
    """One source: the common keys, and the settings its driver declares.

    Attributes:
        driver: name of the driver.
        driver_settings: an object of the driver's own settings class.
    """

    driver: str
    driver_settings: Any


@dataclass(frozen=True, kw_only=True)
class ConnectorSettings(ConnectorCommon):
    """One connector: the common keys, and the settings its type declares.

    Attributes:
        connector: name of the connector type.
        connector_settings: an object of the connector's own settings class.
    """

    connector: str
    connector_settings: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """How the broker proves who it is, and how the gateway does.

    Attributes:
        ca_file: certificates of the authority that signed the broker's; default: the system's.
        cert_file: certificate of this gateway, if the broker asks for one.
        key_file: private key of that certificate.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def __post_init__(self) -> None:
        """A certificate goes with its key."""
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: name both or neither")


def _tls_of(value: object) -> object:
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings:
    """The broker that hears states, counts and telemetry.

    Attributes:
        host: name or address of the broker.
        port: default 1883, with tls 8883.
        topic: the topics' first level or levels.
        client_id: default linegate-ID with the gateway's id.
        username: of the account at the broker.
        password: where the password is (a file, an environment variable or a systemd credential).
        tls: true, or a mapping of ca_file, cert_file, key_file.
        insecure: allows a broker on another machine without tls.
        protocol: version of MQTT: auto tries "5" and falls back to "3.1.1".
        keepalive: the broker takes the gateway for dead after one and a half times this silence.
        heartbeat: how often the gateway's own state is published.
        queue_messages: messages kept while the broker is away; the oldest telemetry goes first.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    host: Annotated[str, Field(min_length=1)]
    port: Port = 0  # 0 stands for the default of the transport until __post_init__
    topic: Annotated[str, Field(pattern=r"^[^/+#$][^+#]{0,127}$")] = "linegate"
    client_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    username: str | None = None
    password: SecretRef | None = None
    tls: Annotated[TlsSettings | None, BeforeValidator(_tls_of, json_schema_input_type=bool | TlsSettings | None)] = (
        None
    )
    insecure: bool = False
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    keepalive: Annotated[Duration, Between(Duration("5 s"), Duration("1 h"))] = Duration("20 s")
    heartbeat: Annotated[Duration, Between(Duration("1 s"), Duration("1 h"))] = Duration("30 s")
    queue_messages: Annotated[int, Field(ge=1, le=100_000)] = 1000

    def __post_init__(self) -> None:
        """The port follows the transport; plain text does not leave the machine unasked."""
        if not self.port:
            object.__setattr__(self, "port", MQTT_TLS_PORT if self.tls else MQTT_PORT)
        if self.topic.endswith("/"):
            raise ValueError(f"topic: found {self.topic!r}, allowed: no / at the end")
        if self.tls is None and not self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"host: {self.host!r} is another machine and tls is off: passwords and data would be readable on the "
                "network; set tls: true, or insecure: true if that is acceptable"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBufferSettings:
    """What is kept for the broker while it is away, in a file of its own: best effort, the oldest goes first.

    Attributes:
        max_size: the file grows no larger than this; 0 B: events wait in memory only, and are gone with a restart.
        max_age: what is older is dropped; 0 s: it may be of any age.
        drain_rate: so many events in a second are told at most once the broker is back; new ones do not wait for them.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    max_size: Annotated[ByteSize, Between(ByteSize("0 B"), ByteSize("1 TiB"))] = _EVENTS_SIZE
    max_age: Annotated[Duration, Between(Duration("0 s"), Duration("3650 d"))] = Duration("7 d")
    drain_rate: Annotated[int, Field(ge=1, le=10_000)] = 200

    def __post_init__(self) -> None:
        """Less than a few pages is no file."""
        if 0 < self.max_size < _EVENTS_SIZE_MIN:
            raise ValueError(f"max_size: found {self.max_size}, allowed: 0 B, or {_EVENTS_SIZE_MIN} and more")


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferSettings:
    """How much is kept on disk, and how long.

    Attributes:
        max_size: the database grows no larger than this.
        reserve: so much is kept free in a file beside the database, and given up when the disk is full, so that what
            waits can still be forwarded; "0 B": nothing is.
        group_window: the first of several writes waits so long for others, to share one flush with them; longer is
            gentler to a card, and every confirmation is that much later.
        journal_keep: old name for ages of ``retention``: ``raw_journal``, ``cycles``, ``states`` and ``notices``.
        posted_keep: old name for ages of ``retention``: ``orders`` and ``confirmations``.
        checkpoint: how often a snapshot of the counters is written; a restart replays at most this much.
        day_grace: so long after its end a production day waits for late data before its closing record is made.
        backup: copies that are made by the clock; off without it.
        telemetry: events for the broker, which are not in the database.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    max_size: Annotated[ByteSize, Between(ByteSize("16 MiB"), ByteSize("4 TiB"))] = _BUFFER_SIZE
    reserve: Annotated[ByteSize, Between(ByteSize("0 B"), ByteSize("1 GiB"))] = _RESERVE_SIZE
    group_window: Annotated[Duration, Between(Duration("0 s"), Duration("250 ms"))] = Duration("0 s")
    journal_keep: _Keep | None = None
    posted_keep: _Keep | None = None
    checkpoint: Annotated[Duration, Between(Duration("100 ms"), Duration("10 min"))] = Duration("5 s")
    telemetry: EventBufferSettings = field(default_factory=EventBufferSettings)
    day_grace: Annotated[Duration, Between(Duration(0), Duration("12 h"))] = Duration("15 min")
    backup: BackupSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconciliationSettings:
    """When the gateway's confirmations are compared with what the ERPs have booked.

    Attributes:
        nightly: each day at this time of the plant's clock; empty: only on demand.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    nightly: TimeOfDay | None = _AT_NIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What the gateway says about itself.

    Attributes:
        level: the least important kind of message that is written.
        format: auto: readable text on a terminal, JSON otherwise.
        repeat_interval: the same message of the same source is written once in this time.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    repeat_interval: Annotated[Duration, Between(Duration(0), Duration("1 d"))] = Duration("30 s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A configuration that passed every check.

    Attributes:
        gateway: who this gateway is.
        sources: by name.
        work_units: the rules of each machine, by id.
        connectors: by name.
        calendars: shift calendars, by the name that work units use.
        mqtt: None where nothing is published.
        api: None where no HTTP API listens.
        alerts: None where nobody is told.
        buffer: limits of the database.
        retention: how long records are kept after they are closed.
        reconciliation: when confirmations are compared with what is booked.
        log: what is logged.
        tests: tests of the rules, by name; the gateway itself ignores them.
        secrets: resolves the secrets that the settings name; relative paths start at ``base_dir``.
        digest: sha256 (hexadecimal) of the effective document, overrides included; secrets and tests are not in it.
        warnings: allowed, but probably not meant; each with its place.
        file: the file that was loaded.
        base_dir: its folder; relative paths of connectors, certificates and secrets start here.
        places: of keys and values, for messages about settings that fail later.
    """

    gateway: GatewaySettings
    sources: Mapping[str, SourceSettings]
    work_units: Mapping[str, WorkUnitRules]
    connectors: Mapping[str, ConnectorSettings]
    calendars: Mapping[str, CalendarRule]
    mqtt: MqttSettings | None
    api: ApiSettings | None
    alerts: AlertSettings | None
    buffer: BufferSettings
    retention: RetentionRule
    reconciliation: ReconciliationSettings
    log: LogSettings
    tests: Mapping[str, RuleTest]
    secrets: SecretStore
    digest: str
    warnings: tuple[str, ...]
    file: Path
    base_dir: Path
    places: Mapping[KeyPath, Place] = field(repr=False)

    def place(self, path: str) -> str:
        """``file:line:column`` of a dotted path, of its nearest parent where it is not written."""
        keys: KeyPath = tuple(int(key) if key.isdecimal() else key for key in path.split(".")) if path else ()
        while keys and keys not in self.places:
            as_text = (*keys[:-1], str(keys[-1]))  # a key of digits, such as a value in a state map
            if as_text in self.places:
                return str(self.places[as_text])
            keys = keys[:-1]
        return str(self.places[keys])
