"""A test message because a person asks for one: through the running gateway, or with the configuration alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from gateway.alerts.message import test_message
from gateway.control import RequestError, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.alerts.channel import Channel
    from gateway.alerts.message import Sender
    from gateway.control import Verb

NONE_THERE: Final = "alerts: no channel is configured; name one in the section alerts, under channels"


def table(
    channels: Mapping[str, Channel], sender: Sender, now_ns: Callable[[], int], utc_ns: Callable[[int], int]
) -> dict[str, Verb]:
    """Verbs by name."""

    async def test(request: Mapping[str, Any]) -> Any:
        wanted = text_of(request, "channel") if request.get("channel") else ""
        return await tested(channels, wanted, sender, now_ns, utc_ns)

    return {"alerts.test": test}


async def tested(
    channels: Mapping[str, Channel],
    wanted: str,
    sender: Sender,
    now_ns: Callable[[], int],
    utc_ns: Callable[[int], int],
) -> list[dict[str, Any]]:
    """Send one to each channel, or to the one that is named, and what came back. Raises RequestError."""
    if not channels:
        raise RequestError(
            NONE_THERE, guard="CHANNEL", what_to_do="name one in the section alerts of the configuration"
        )
    if wanted and wanted not in channels:
        allowed = ", ".join(sorted(channels))
        text = f"channel: found {wanted[:100]!a}, allowed: {allowed}"
        raise RequestError(text, guard="CHANNEL", found=wanted[:100], allowed=allowed, what_to_do="name one of them")
    names = [wanted] if wanted else sorted(channels)
    message = test_message(sender, now_ns(), utc_ns)
    replies = await asyncio.gather(*(channels[name].send(message) for name in names))
    return [
        {"channel": name, "ok": reply.ok, "detail": reply.detail} for name, reply in zip(names, replies, strict=True)
    ]
