"""Material of a confirmation that no message of a connector tells, in words for the person who posts it. Pure.

What the ERP reckons itself and what a person issues anyway is none of it. Decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_POSTED: Final = frozenset({"confirmation", "separate"})


def sends_none(_component: Mapping[str, Any]) -> bool:
    """For a connector whose messages say nothing of material."""
    return False


def left_of(confirmation: Mapping[str, Any], is_sent: Callable[[Mapping[str, Any]], bool]) -> tuple[str, ...]:
    """What has to be posted and is not sent: item, quantity, what it is, such as ``GRAN: 250.000 G (purge)``."""
    components = confirmation.get("components") or ()
    return tuple(
        f"{one.get('item')}: {one.get('qty')} {one.get('uom')} ({one.get('separate') or one.get('kind')})"
        for one in components
        if isinstance(one, dict) and one.get("posting") in _POSTED and not is_sent(one)
    )
