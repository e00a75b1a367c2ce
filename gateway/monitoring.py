"""Makes the link to the broker, with the file in which its events wait. Starts nothing."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from buffer.errors import StoreError
from buffer.telemetry import FILE_NAME, TelemetryStore
from gateway import __version__, logs
from gateway.shown.views import clock_view

if TYPE_CHECKING:
    from config.settings import Settings
    from gateway.monitor import Monitor
    from gateway.timing.clock import SteadyClock

log = structlog.get_logger(__name__)


class BuildError(Exception):
    """A part cannot be made from the settings; says which and what to do."""


async def monitor_of(settings: Settings, clock: SteadyClock, warnings: list[str]) -> Monitor | None:
    """The link to the broker, ready to run; None where none is configured. Raises BuildError, ConfigError."""
    mqtt = settings.mqtt
    if mqtt is None:
        return None
    from gateway.monitor import Monitor, MonitorSettings

    password = None
    if mqtt.password is not None:
        password = settings.secrets.resolve(mqtt.password, "mqtt.password")
        logs.register_secret(password)
    broker = MonitorSettings(
        host=mqtt.host,
        port=mqtt.port,
        topic=mqtt.topic,
        client_id=mqtt.client_id or "",
        username=mqtt.username,
        password=password,
        tls=_tls(settings),
        allow_plaintext=mqtt.insecure,
        protocol=mqtt.protocol,
        keepalive_ns=mqtt.keepalive,
        heartbeat_ns=mqtt.heartbeat,
        queue_messages=mqtt.queue_messages,
        backlog_per_second=settings.buffer.telemetry.drain_rate,
    )
    shelf, last_number = await _shelf(settings, clock, warnings)
    return Monitor(
        broker,
        gateway_id=settings.gateway.id,
        version=__version__,
        now_ns=clock.now_ns,
        utc_ns=clock.utc_ns,
        clock=partial(clock_view, clock),
        shelf=shelf,
        last_number=last_number,
    )


async def _shelf(settings: Settings, clock: SteadyClock, warnings: list[str]) -> tuple[TelemetryStore | None, int]:
    """The file of the events, and the highest number ever given in it. One that cannot be opened is tried again."""
    kept = settings.buffer.telemetry
    if not kept.max_size:
        return None, 0
    path = Path(settings.gateway.state_dir) / FILE_NAME
    shelf = TelemetryStore(path, max_bytes=kept.max_size, max_age_ns=kept.max_age)
    try:
        last_number = await asyncio.to_thread(shelf.open)
    except StoreError as error:
        log.warning("events cannot be kept in their file", reason=str(error))
        # Above every number that may be in the file: they count events, not nanoseconds.
        last_number = clock.now_ns()
    if shelf.made_anew:
        warnings.append(shelf.made_anew)
    return shelf, last_number


def _tls(settings: Settings) -> ssl.SSLContext | None:
    tls = settings.mqtt.tls if settings.mqtt is not None else None
    if tls is None:
        return None
    base = settings.base_dir
    try:
        context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(base / tls.ca_file))
        if tls.cert_file is not None and tls.key_file is not None:
            context.load_cert_chain(base / tls.cert_file, base / tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise BuildError(f"{settings.place('mqtt.tls')}: mqtt.tls: a file cannot be used: {error}") from error
    return context
