"""Settings of the MQTT connector, exactly as the configuration file writes them."""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from gateway.connectors.error_classes import ErrorClass, check_error_classes
from gateway.core.duration import Duration
from gateway.core.host import is_loopback
from gateway.core.orders.erp_notice import NoticeType
from gateway.core.secret import SecretRef

PORT: Final = 1883
PORT_TLS: Final = 8883
PORT_MAX: Final = 65_535
TIMEOUT_MIN_NS: Final = Duration("100 ms")
TIMEOUT_MAX_NS: Final = Duration("1 min")
KEEPALIVE_MIN_NS: Final = Duration("1 s")
KEEPALIVE_MAX_NS: Final = Duration("1 h")
SESSION_EXPIRY_MAX_NS: Final = Duration("3650 d")
WAIT_MAX_NS: Final = Duration("1 d")
CLIENT_ID_MAX_CHARS: Final = 100
TOPIC_MAX_CHARS: Final = 500
#: What a topic may be made of: of a confirmation, and of the gateway alone.
CONFIRMATION_FIELDS: Final = frozenset({"order", "operation", "work_center", "machine", "plant", "line", "gateway"})
ANSWER_FIELDS: Final = frozenset({"order", "plant", "gateway"})
NOTICE_FIELDS: Final = frozenset({"notice", "plant", "gateway"})
OWN_FIELDS: Final = frozenset({"gateway"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttTargetSettings:
    """An MES that is reached over an MQTT 5 broker.

    Attributes:
        connector: ``mqtt``.
        host: name or address of the broker.
        port: of the broker; default 1883, with tls 8883.
        tls: true encrypts the link.
        ca_file: PEM file of the authority that signed the broker's certificate, relative to the configuration.
        certificate_file: PEM file of the gateway's own certificate, where the broker wants one.
        key_file: its key.
        insecure: true allows a broker on another machine without tls.
        username: of the account at the broker.
        password: where its password is.
        client_id: unique at the broker, and the name of the session that it keeps; default linegate-ID-NAME.
        keepalive: a broker that says nothing for twice this is taken for dead, 1 s to 1 h.
        session_expiry: so long the broker keeps for the gateway what it could not deliver.
        timeout: longest wait for the broker's answer, 100 ms to 1 min.
        orders_topic: where orders come from, with + and # ({gateway} is allowed); none: no orders.
        confirmations_topic: where confirmations are published; {order}, {operation}, {work_center}, {machine}, {plant},
            {line} and {gateway} are filled in; none: no confirmations.
        acknowledgements_topic: where the MES says what it booked ({gateway} is allowed); none: it does not say.
        ask_topic: where the MES is asked about a confirmation; it answers at the acknowledgements_topic; none: it
            cannot be asked.
        answers_topic: where answers to orders are published ({order}, {plant}, {gateway}); none: the MES is not told
            what became of them.
        notices: what the MES is told besides: ``status`` (changes of state), ``quality``, ``unallocated`` (pieces of
            no order), ``reconciliation`` (reports); none: nothing.
        notices_topic: where notices are published ({notice} is the type; {plant}, {gateway}).
        idempotent: true if the MES itself books a repeated message_id only once; then it is sent again after an unclear
            end.
        wait_for_booking: one confirmation of an operation at a time; false: the next one leaves when the broker has the
            one before.
        acknowledgement_wait: so long after an unclear end an acknowledgement is waited for, then a person has to look.
        server_time_limit: how long the MES may still work on a message when it says that it does not know it.
        correction: how the MES takes a correction. ``cancel``: it takes a booking back, given its key; ``negative``: it
            books quantities below 0; ``manual``: a person does it there.
        error_classes: reason codes of the broker (``0x97``) to what they mean; goes before the own table.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    connector: Literal["mqtt"]
    host: str
    port: int = 0
    tls: bool = False
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    insecure: bool = False
    username: str | None = None
    password: SecretRef | None = None
    client_id: str | None = None
    keepalive: Duration = Duration("15 s")
    session_expiry: Duration = Duration("7 d")
    timeout: Duration = Duration("10 s")
    orders_topic: str | None = "mes/orders/#"
    confirmations_topic: str | None = "mes/confirmations/{order}/{operation}"
    acknowledgements_topic: str | None = "mes/acknowledgements/{gateway}"
    ask_topic: str | None = None
    answers_topic: str | None = None
    notices: tuple[NoticeType, ...] = ()
    notices_topic: str = "mes/notices/{gateway}/{notice}"
    idempotent: bool = False
    wait_for_booking: bool = True
    acknowledgement_wait: Duration = Duration("5 min")
    server_time_limit: Duration = Duration("1 min")
    correction: Literal["cancel", "negative", "manual"] = "manual"
    error_classes: dict[str, ErrorClass] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Ranges, topics that can be used, and no password in the clear by accident."""
        if not self.port:
            object.__setattr__(self, "port", PORT_TLS if self.tls else PORT)
        check_error_classes(self.error_classes)
        self._check_link()
        for name, low_ns, high_ns in (
            ("keepalive", KEEPALIVE_MIN_NS, KEEPALIVE_MAX_NS),
            ("session_expiry", KEEPALIVE_MIN_NS, SESSION_EXPIRY_MAX_NS),
            ("timeout", TIMEOUT_MIN_NS, TIMEOUT_MAX_NS),
            ("acknowledgement_wait", Duration("0 s"), WAIT_MAX_NS),
            ("server_time_limit", Duration("0 s"), WAIT_MAX_NS),
        ):
            found = getattr(self, name)
            if not low_ns <= found <= high_ns:
                raise ValueError(f"{name}: found {found}, allowed {low_ns} to {high_ns}")
        for name, fields, wild in (
            ("orders_topic", OWN_FIELDS, True),
            ("confirmations_topic", CONFIRMATION_FIELDS, False),
            ("acknowledgements_topic", OWN_FIELDS, False),
            ("ask_topic", OWN_FIELDS, False),
            ("answers_topic", ANSWER_FIELDS, False),
            ("notices_topic", NOTICE_FIELDS, False),
        ):
            _check_topic(name, getattr(self, name), fields, wild=wild)
        if self.orders_topic is None and self.confirmations_topic is None:
            raise ValueError("orders_topic, confirmations_topic: found none, allowed: at least one")
        if self.notices and self.confirmations_topic is None:
            raise ValueError("notices: found without confirmations_topic, allowed: only with it; leave them out")
        if self.ask_topic is not None and self.acknowledgements_topic is None:
            raise ValueError("ask_topic needs acknowledgements_topic: the answers come there")

    def _check_link(self) -> None:
        if not self.host:
            raise ValueError("host: found nothing, allowed: the name or address of the broker")
        if not 1 <= self.port <= PORT_MAX:
            raise ValueError(f"port: found {self.port}, allowed 1 to {PORT_MAX}")
        if not self.tls and not self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"host: {self.host!r} is another machine and tls is off: the password and the orders would be readable "
                "on the network; set tls: true, or insecure: true if that is acceptable"
            )
        if not self.tls and (self.ca_file or self.certificate_file):
            raise ValueError("ca_file, certificate_file: belong to tls, which is off; set tls: true")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file, key_file: found one of them, allowed: both or none")
        if self.password is not None and self.username is None:
            raise ValueError("password needs username")
        if self.client_id is not None and not 1 <= len(self.client_id) <= CLIENT_ID_MAX_CHARS:
            raise ValueError(f"client_id: found {len(self.client_id)} characters, allowed 1 to {CLIENT_ID_MAX_CHARS}")


def _check_topic(name: str, topic: str | None, fields: frozenset[str], *, wild: bool) -> None:
    if topic is None:
        return
    if not 1 <= len(topic) <= TOPIC_MAX_CHARS or topic.startswith("$") or "\0" in topic:
        raise ValueError(f"{name}: found {topic[:80]!r}, allowed: 1 to {TOPIC_MAX_CHARS} characters, no $ at its start")
    try:
        parts = list(string.Formatter().parse(topic))
    except ValueError as error:
        raise ValueError(f"{name}: found {topic!r}: {error}; allowed: braces only around a field's name") from error
    for _, found, form, conversion in parts:
        if found is not None and (found not in fields or form or conversion):
            allowed = ", ".join(f"{{{one}}}" for one in sorted(fields))
            raise ValueError(f"{name}: found {{{found}}}, allowed: {allowed}")
    levels = topic.split("/")
    for number, level in enumerate(levels):
        ends = level == "#" and number == len(levels) - 1
        if ("+" in level or "#" in level) and not (wild and (level == "+" or ends)):
            allowed = "+ for a whole level, # for the last one" if wild else "no + and no #"
            raise ValueError(f"{name}: found {topic!r}, allowed: {allowed}")
