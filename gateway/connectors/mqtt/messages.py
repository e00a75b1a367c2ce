"""From a document to the exact message and its topic, the properties it leaves with, and what the broker's word means.

Pure but for paho's property objects. ``Rendered.name`` is the topic: with the bytes it is all that is stored.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.connectors.base import MappingError, OutcomeKind, Rendered
from gateway.connectors.canonical_json import written
from gateway.core.orders.erp_notice import NOTICE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.base import Posting

TOPIC_MAX_BYTES: Final = 1000
CONTENT_TYPE: Final = "application/json"
#: The broker took the message and nobody is subscribed: it is thrown away there.
NO_SUBSCRIBER: Final = 0x10
#: Reason codes of PUBACK, CONNACK and SUBACK. With each of them the broker has not taken the message.
BY_REASON: Final[dict[str, OutcomeKind]] = {
    "0x10": OutcomeKind.NOT_SENT,
    "0x80": OutcomeKind.NOT_SENT,
    "0x83": OutcomeKind.NOT_SENT,
    "0x85": OutcomeKind.AUTH,
    "0x86": OutcomeKind.AUTH,
    "0x87": OutcomeKind.AUTH,
    "0x88": OutcomeKind.NOT_SENT,
    "0x89": OutcomeKind.NOT_SENT,
    "0x8a": OutcomeKind.AUTH,
    "0x8c": OutcomeKind.AUTH,
    "0x90": OutcomeKind.BUSINESS_REJECT,
    "0x91": OutcomeKind.UNCERTAIN,
    "0x97": OutcomeKind.NOT_SENT,
    "0x99": OutcomeKind.BUSINESS_REJECT,
}
#: A level of a topic has none of these; the percent sign too, else two orders could become one topic.
_SEPARATORS: Final = re.compile(r"[/+#%\x00-\x1f\x7f]")


def rendered(
    document: Mapping[str, Any], *, confirmations: str | None, answers: str | None, notices: str, gateway: str
) -> Rendered:
    """The canonical document and its topic. Raises MappingError."""
    body = written(document)
    template = {"order_ack": answers, NOTICE: notices}.get(str(document.get("type")), confirmations)
    if template is None:
        raise MappingError(f"type: found {document.get('type')!r}, and no topic is set for it")
    values = {
        "order": document["order_id"],
        "gateway": gateway,
        **{name: document.get(name) for name in ("operation", "work_center", "machine", "plant", "line", "notice")},
    }
    topic = template.format_map(_Levels(values))
    if len(topic.encode()) > TOPIC_MAX_BYTES:
        raise MappingError(f"topic: found {len(topic.encode())} bytes, allowed at most {TOPIC_MAX_BYTES}")
    return Rendered(body, CONTENT_TYPE, topic)


def own_topic(template: str | None, gateway: str) -> str | None:
    """A topic that is made of the gateway alone."""
    return None if template is None else template.format_map(_Levels({"gateway": gateway}))


def properties_of(posting: Posting, response_topic: str | None) -> Properties:
    """Of a confirmation: correlation data, response topic, content type, key and number."""
    made = _properties(posting, response_topic)
    made.UserProperty = [("key", posting.key), ("seq", str(posting.seq)), ("attempt", str(posting.attempt))]
    return made


def question(posting: Posting, response_topic: str | None) -> tuple[bytes, Properties]:
    """What is asked of a confirmation."""
    document = {
        "message_id": posting.message_id,
        "key": posting.key,
        "order_id": posting.order,
        "operation": posting.operation,
        "seq": posting.seq,
    }
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return body, _properties(posting, response_topic)


def _properties(posting: Posting, response_topic: str | None) -> Properties:
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    made.CorrelationData = posting.message_id.encode()
    made.ContentType = CONTENT_TYPE
    made.PayloadFormatIndicator = 1
    if response_topic is not None:
        made.ResponseTopic = response_topic
    return made


def code_of(reason: int) -> str:
    """A reason code as the tables name it."""
    return f"0x{reason:02x}"


class _Levels(dict[str, Any]):
    """Values of a topic, each one level."""

    def __getitem__(self, name: str) -> str:
        value = super().get(name)
        if not isinstance(value, str) or not value:
            raise MappingError(f"topic: {{{name}}}: found {value!r} in the document, allowed: a text")
        return _SEPARATORS.sub(lambda found: quote(found[0], safe=""), value)
