"""Business Central: released orders and the output journal over OData V4. Importing this is cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.connectors.base import ConnectorType
from gateway.connectors.business_central.settings import BusinessCentralSettings

if TYPE_CHECKING:
    from gateway.connectors.base import Connector, ConnectorContext


def _build(settings: BusinessCentralSettings, context: ConnectorContext) -> Connector:
    from gateway.connectors.business_central.connector import BusinessCentralConnector

    return BusinessCentralConnector(settings, context)


def _describe(settings: BusinessCentralSettings) -> list[str]:
    where = f"{settings.journal_page}, batch {settings.journal_batch}; somebody there posts it"
    if settings.variant == "extension":
        where = f"the action {settings.action}, which posts and knows a repeat"
    return [
        f"orders of {settings.company} from {settings.url}, {settings.sign_in}",
        f"confirmations to {where}",
    ]


PLUGIN = ConnectorType(name="business_central", settings=BusinessCentralSettings, build=_build, describe=_describe)
