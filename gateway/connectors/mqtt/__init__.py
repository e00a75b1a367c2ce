"""MQTT: orders and confirmations of an MES on a broker. Importing this is cheap; paho comes with ``build``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.connectors.base import ConnectorType
from gateway.connectors.mqtt.settings import MqttTargetSettings

if TYPE_CHECKING:
    from gateway.connectors.base import Connector, ConnectorContext


def _build(settings: MqttTargetSettings, context: ConnectorContext) -> Connector:
    from gateway.connectors.mqtt.connector import MqttConnector

    return MqttConnector(settings, context)


def _describe(settings: MqttTargetSettings) -> list[str]:
    broker = f"{settings.host}:{settings.port}{' with TLS' if settings.tls else ''}"
    told = (
        f"booked or refused by {settings.acknowledgements_topic}"
        if settings.acknowledgements_topic is not None
        else "nobody says whether they are booked"
    )
    if settings.idempotent:
        unclear = "sends the same again"
    elif settings.ask_topic is not None:
        unclear = f"asks at {settings.ask_topic}"
    elif settings.acknowledgements_topic is not None:
        unclear = f"waits {settings.acknowledgement_wait} for the acknowledgement, then asks a person"
    else:
        unclear = "asks a person"
    return [
        f"orders from {settings.orders_topic} at {broker}" if settings.orders_topic else "no orders",
        f"confirmations to {settings.confirmations_topic} at {broker}, {told}; after an unclear end it {unclear}"
        if settings.confirmations_topic
        else "no confirmations",
    ]


PLUGIN = ConnectorType(name="mqtt", settings=MqttTargetSettings, build=_build, describe=_describe)
