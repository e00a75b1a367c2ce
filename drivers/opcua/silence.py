"""Finds what a server keeps to itself: nodes that are gone, and values that move without being reported.

Reads what the subscription monitors and compares. A difference alone proves nothing: the report may be on its way, or
the server looks too rarely to see what we saw. So a variable that differs twice without a report in between is
monitored anew, and only a server that does not even report the first value of that is silent. Decides no times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asyncua.ua.attribute_ids import AttributeIds

from drivers.base import DriverError
from drivers.opcua.items import GONE_WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncua import ua

    from drivers.opcua.items import Item
    from drivers.opcua.session import ReadResult, Session
    from drivers.opcua.subscription import Subscription

#: What is compared; structures and arrays have no such simple equality.
_COMPARED: Final = (bool, int, float, str)


class _Suspect(NamedTuple):
    """A variable whose value was not reported when it was looked at."""

    arrived: int  # notifications of the server by then
    renewed: bool  # it was monitored anew then


class SilenceCheck:
    """The check of one subscription; ``check`` is called again and again, with time for a report in between."""

    def __init__(self, session: Session, subscription: Subscription, where: str) -> None:
        self._session = session
        self._subscription = subscription
        self._where = where
        self._suspects: dict[int, _Suspect] = {}  # by handle
        self._renewed = 0
        self._renewed_name = ""

    async def check(self) -> list[tuple[Item, str]]:
        """Read and compare; what is no longer monitored, each with the reason.

        Raises DriverError where the server reports nothing, and LINK_ERRORS.
        """
        items = [item for item in self._subscription.items() if item.node is not None]
        compared = [item for item in items if item.rule and item.whole]
        others = [item for item in items if not (item.rule and item.whole)]
        values = list(zip(compared, await self._session.read(_nodes(compared)), strict=True))
        classes = await self._session.read(_nodes(others), AttributeIds.NodeClass)
        found = [*values, *zip(others, classes, strict=True)]
        gone = [(item, one.status) for item, one in found if one.status in GONE_WORDS]
        await self._subscription.remove([item for item, _word in gone])
        renew = self._judge([(item, one) for item, one in values if one.status not in GONE_WORDS])
        if renew:
            self._renewed += len(renew)
            self._renewed_name = renew[-1].name
            await self._subscription.remove(renew)
            gone += await self._subscription.add(renew)
        return gone

    def _judge(self, values: Sequence[tuple[Item, ReadResult]]) -> list[Item]:
        """Whom to suspect; those that are to be monitored anew. Raises DriverError."""
        subscription, before, now = self._subscription, self._suspects, dict[int, _Suspect]()
        renew: list[Item] = []
        for item, one in values:
            was = before.get(item.handle)
            unreported = was is not None and item.handle in subscription.watched
            if was is not None and unreported:
                if subscription.taken < was.arrived:  # we are behind: what came before may be the report
                    now[item.handle] = was
                    continue
                if was.renewed:
                    raise DriverError(
                        f"{self._where}: node {item.text} is {one.value!r} ({one.status}), but the server has reported "
                        f"nothing since {item.last!r}, not even when it was monitored anew; connecting anew"
                    )
            if one.status == "Good" and _differ(one.value, item.last):
                now[item.handle] = _Suspect(subscription.arrived, renewed=unreported)
                renew += [item] if unreported else []
        self._suspects = now
        subscription.watched = set(now)
        return renew

    def notices(self) -> dict[str, str]:
        """Variables that had to be monitored anew."""
        if not self._renewed:
            return {}
        return {
            "unreported": f"{self._renewed} times a value had changed and the server did not report it, last that of "
            f"{self._renewed_name}; it was monitored anew. If the value changes faster than the server looks at it, "
            f"shorten sampling"
        }


def _differ(value: Any, last: Any) -> bool:
    if not isinstance(value, _COMPARED):
        return False
    both_nan = value != value and last != last  # noqa: PLR0124 - a float that is no number differs from itself
    return bool(value != last) and not both_nan


def _nodes(items: Sequence[Item]) -> list[ua.NodeId]:
    return [item.node for item in items if item.node is not None]
