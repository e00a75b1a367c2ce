"""Makes the connector of a target from the settings: its secrets resolved, nothing opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import logs
from gateway.connectors.base import ConnectorContext, nobody_waits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from config.settings import Settings
    from gateway.connectors.base import Connector, ConnectorType


def connector_of(
    settings: Settings,
    name: str,
    types: Mapping[str, ConnectorType],
    utc_now_ns: Callable[[], int],
    acknowledged: Callable[[], None] = nobody_waits,
    orders_came: Callable[[], None] = nobody_waits,
) -> Connector:
    """The connector of that name in the configuration. Raises ConfigError for a secret that is not there.

    ``acknowledged`` is called by the connector when its target has news of what it accepted, ``orders_came`` when it
    has orders.
    """
    target = settings.connectors[name]
    own = target.connector_settings
    secrets = settings.secrets.resolve_all(own, f"connectors.{name}")
    for text in secrets.values():
        logs.register_secret(text)
    context = ConnectorContext(
        name=name,
        gateway_id=settings.gateway.id,
        now_ns=utc_now_ns,
        secrets=secrets,
        base_dir=settings.base_dir,
        time_zone=settings.gateway.timezone,
        acknowledged=acknowledged,
        orders_came=orders_came,
    )
    return types[target.connector].build(own, context)
