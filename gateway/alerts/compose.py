"""Makes the channels from the settings, with their secrets. Sends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.errors import ConfigError, Place
from gateway import logs
from gateway.alerts.channel import AddressError, Channel, address_of
from gateway.alerts.message import Sender
from gateway.alerts.wire import Form
from gateway.connectors.base import ConnectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from config.alert_settings import ChannelSettings
    from config.settings import Settings


def sender_of(settings: Settings) -> Sender:
    """Who speaks."""
    return Sender(settings.gateway.id, settings.gateway.plant, settings.gateway.line)


def channels_of(settings: Settings, *, now_ns: Callable[[], int], utc_now_ns: Callable[[], int]) -> dict[str, Channel]:
    """Every channel by name, none without the section. Raises ConfigError: a secret is missing or of no use."""
    if settings.alerts is None:
        return {}
    found = {}
    for name, one in settings.alerts.channels.items():
        path = f"alerts.channels.{name}"
        secrets = settings.secrets.resolve_all(one, path)
        channel = found[name] = _channel(settings, name, one, secrets, now_ns, utc_now_ns)
        for text in channel.secrets:
            logs.register_secret(text)
    return found


def _channel(
    settings: Settings,
    name: str,
    one: ChannelSettings,
    secrets: Mapping[str, str],
    now_ns: Callable[[], int],
    utc_now_ns: Callable[[], int],
) -> Channel:
    path = f"alerts.channels.{name}"
    try:
        address = address_of(secrets["url"], insecure=one.insecure)
    except AddressError as error:
        place = Place(settings.place(f"{path}.url"))
        raise ConfigError(place, f"{path}.url", f"the address in this secret: {error}") from None
    form = Form(
        one.kind,
        secrets.get("secret", ""),
        secrets.get("token", ""),
        markdown=one.format == "markdown",
        mention=one.mention,
    )
    ca_file = None if one.ca_file is None else settings.base_dir / one.ca_file
    try:
        return Channel(
            name, address, form, timeout_ns=one.timeout, ca_file=ca_file, now_ns=now_ns, utc_now_ns=utc_now_ns
        )
    except ConnectorError as error:
        place = Place(settings.place(f"{path}.token"))
        raise ConfigError(place, f"{path}.token", str(error)) from None
