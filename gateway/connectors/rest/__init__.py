"""REST: orders and confirmations over HTTP, by a profile. Importing this is cheap; httpx comes with ``build``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.connectors.base import ConnectorType
from gateway.connectors.rest.profiles import is_file, read
from gateway.connectors.rest.settings import RestSettings

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.connectors.base import Connector, ConnectorContext


def _build(settings: RestSettings, context: ConnectorContext) -> Connector:
    if settings.by_template:
        from gateway.connectors.rest.template_connector import TemplateConnector

        return TemplateConnector(settings, context)
    from gateway.connectors.rest.connector import RestConnector

    return RestConnector(settings, context)


def _describe(settings: RestSettings) -> list[str]:
    repeats = "repeats the same key" if settings.idempotent else "looks the key up before any repeat"
    if settings.by_template:
        profile = (
            "the profile written as template" if settings.template is not None else f"the profile {settings.profile}"
        )
        return [f"orders and confirmations at {settings.url} by {profile}; after an unclear end it {repeats}"]
    token = "with a bearer token" if settings.token is not None else "without authentication"
    return [
        f"orders from {settings.url}{settings.orders_path}, {token}",
        f"confirmations to {settings.url}{settings.confirmations_path}; after an unclear end it {repeats}",
    ]


def _check(settings: RestSettings, base_dir: Path) -> list[str]:
    """What is wrong in the profile's file."""
    if settings.template is not None or not is_file(settings.profile):
        return []
    try:
        settings.plan_of(read(base_dir / settings.profile))
    except ValueError as error:
        return [str(error) if str(error).startswith("profile ") else f"profile {settings.profile}: {error}"]
    return []


PLUGIN = ConnectorType(name="rest", settings=RestSettings, build=_build, describe=_describe, check=_check)
