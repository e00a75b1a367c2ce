"""Files: orders and confirmations as CSV in a shared folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.connectors.base import ConnectorType
from gateway.connectors.file.settings import FileSettings

if TYPE_CHECKING:
    from gateway.connectors.base import Connector, ConnectorContext


def _build(settings: FileSettings, context: ConnectorContext) -> Connector:
    from gateway.connectors.file.connector import FileConnector

    return FileConnector(settings, context)


def _describe(settings: FileSettings) -> list[str]:
    return [
        f"orders from {settings.folder}/{settings.orders_folder}/*.csv, moved to done or error",
        f"confirmations to {settings.folder}/{settings.confirmations_folder}, one file each",
    ]


PLUGIN = ConnectorType(name="file", settings=FileSettings, build=_build, describe=_describe)
