"""``broker``: a small MQTT 3.1.1 broker for the demo; a plant has its own.

Runs amqtt with anonymous access, without $SYS topics and without storage: retained messages end with the process.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from simulators.control import SimulatorError
from simulators.listener import bound_socket

if TYPE_CHECKING:
    import argparse

    from simulators.control import Control

USUAL_PORT: Final = 11883
#: How long the broker may take to say goodbye to its clients, in seconds.
CLOSE_S: Final = 0.8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator: none of its own."""


def config_text(options: argparse.Namespace, facts: dict[str, Any]) -> str:  # noqa: ARG001 - nothing to choose
    """The gateway's MQTT section for this broker."""
    return f"""\
mqtt:
  host: {facts["host"]}
  port: {facts["port"]}
  protocol: "3.1.1"
"""


async def run(options: argparse.Namespace, control: Control) -> None:
    """Serve until told to end. Raises SimulatorError if amqtt is missing or the port is busy."""
    try:
        from amqtt.broker import Broker
        from amqtt.errors import BrokerError
    except ImportError as error:
        raise SimulatorError(
            f"the broker needs amqtt ({error}); install it with: pip install 'linegate[demo]', or use your own broker"
        ) from error
    # Every client that goes without a word is an error to the library.
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    logging.getLogger("transitions").setLevel(logging.CRITICAL)
    reserved = bound_socket(options.host, options.port)
    port = reserved.getsockname()[1]
    host = f"[{options.host}]" if ":" in options.host else options.host
    broker = Broker(_configuration(f"{host}:{port}"))
    try:
        await broker.start()  # the library binds by itself, beside the reservation: that does not listen
    except BrokerError as error:
        raise SimulatorError(f"cannot listen on {options.host}, port {port}: {error}") from error
    finally:
        reserved.close()
    try:
        control.ready(port=port, host=options.host)
        await control.until_exit()
    finally:
        await asyncio.wait([asyncio.create_task(broker.shutdown())], timeout=CLOSE_S)


def _configuration(bind: str) -> dict[str, Any]:
    return {
        "listeners": {"default": {"type": "tcp", "bind": bind}},
        # Naming plugins replaces the library's default set, which prints packets and publishes $SYS topics.
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
