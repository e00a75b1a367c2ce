"""``linegate alerts``: one test message to each channel, and what came back.

Asks the running gateway, which has the secrets; where none runs, it sends with the configuration alone.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import state_dir
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from config.settings import Settings

SHOWN_CHARS_MAX: Final = 500


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``alerts`` with its verb."""
    parser = commands.add_parser("alerts", help="the channels by which people are told of what needs them")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    test = verbs.add_parser(
        "test",
        help="send one test message and say what came back; exit status 1 if one has not arrived",
        description="Sends one message that says it is a test. It goes through the running gateway; where none runs, "
        "it needs --config, and the secrets must be readable by whoever asks.",
    )
    test.add_argument("channel", nargs="?", default="", metavar="CHANNEL", help="only to this one")
    test.add_argument("--json", action="store_true", help="print for programs")
    state_dir.add_arguments(test)
    test.set_defaults(run=run_test)


def run_test(args: argparse.Namespace) -> int:
    """Print what came back; 0 if every message has arrived."""
    found = _tested(args)
    if isinstance(found, int):
        return found
    if args.json:
        print(json.dumps(found))
    else:
        for one in found:
            told = "told" if one["ok"] else "NOT TOLD"
            print(clean(f"{one['channel']}: {told}: {one['detail']}", SHOWN_CHARS_MAX))
    return 0 if all(one["ok"] for one in found) else 1


def _tested(args: argparse.Namespace) -> Any:
    """The answers, or an exit code after a message."""
    from pathlib import Path

    from gateway.cli.config import load_or_complain
    from gateway.control import ControlError, NotRunningError, call

    settings = None
    if args.config is not None:
        settings = load_or_complain(args.config)
        if settings is None:
            return 1
    where: Path | None = Path(settings.gateway.state_dir) if settings is not None else state_dir.find(args)
    if where is None:
        return 1
    try:
        return call(where, "alerts.test", **({"channel": args.channel} if args.channel else {}))
    except NotRunningError as error:
        if settings is None:
            said = f"linegate: {error}, or name its configuration with --config"
            print(clean(said, SHOWN_CHARS_MAX), file=sys.stderr)
            return state_dir.EXIT_NOT_RUNNING
    except ControlError as error:
        return state_dir.complain(error)
    return _stopped(settings, args.channel)


def _stopped(settings: Settings, channel: str) -> Any:
    import asyncio

    from config.errors import ConfigError
    from gateway.control import RequestError

    try:
        return asyncio.run(_send(settings, channel))
    except (ConfigError, RequestError) as error:
        print(clean(f"linegate: {error}", SHOWN_CHARS_MAX), file=sys.stderr)
        return 1


async def _send(settings: Settings, channel: str) -> list[dict[str, Any]]:
    from gateway.alerts.asked import tested
    from gateway.alerts.compose import channels_of, sender_of
    from gateway.timing.clock import SteadyClock

    clock = SteadyClock(0)
    channels = channels_of(settings, now_ns=clock.now_ns, utc_now_ns=clock.utc_now_ns)
    try:
        return await tested(channels, channel, sender_of(settings), clock.now_ns, clock.utc_ns)
    finally:
        for one in channels.values():
            await one.close()
