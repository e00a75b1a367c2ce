"""REST: orders and confirmations as JSON over HTTP. Importing this is cheap; httpx comes with ``build``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.connectors.base import ConnectorType
from gateway.connectors.rest.settings import RestSettings

if TYPE_CHECKING:
    from gateway.connectors.base import Connector, ConnectorContext


def _build(settings: RestSettings, context: ConnectorContext) -> Connector:
    from gateway.connectors.rest.connector import RestConnector

    return RestConnector(settings, context)


def _describe(settings: RestSettings) -> list[str]:
    token = "with a bearer token" if settings.token is not None else "without authentication"
    repeats = "repeats the same key" if settings.idempotent else "looks the key up before any repeat"
    return [
        f"orders from {settings.url}{settings.orders_path}, {token}",
        f"confirmations to {settings.url}{settings.confirmations_path}; after an unclear end it {repeats}",
    ]


PLUGIN = ConnectorType(name="rest", settings=RestSettings, build=_build, describe=_describe)
