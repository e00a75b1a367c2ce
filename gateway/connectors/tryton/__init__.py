"""Tryton: productions and their work cycles over JSON-RPC. Importing this is cheap; httpx comes with ``build``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.connectors.base import ConnectorType
from gateway.connectors.tryton.settings import TrytonSettings

if TYPE_CHECKING:
    from gateway.connectors.base import Connector, ConnectorContext


def _build(settings: TrytonSettings, context: ConnectorContext) -> Connector:
    from gateway.connectors.tryton.connector import TrytonConnector

    return TrytonConnector(settings, context)


def _describe(settings: TrytonSettings) -> list[str]:
    end = "does it" if settings.complete else "leaves it to a person"
    return [
        f"productions of the database {settings.database} at {settings.url}, as the user {settings.user}",
        f"confirmations as work cycles and output moves; the final one of the last operation {end}",
    ]


PLUGIN = ConnectorType(name="tryton", settings=TrytonSettings, build=_build, describe=_describe)
