"""Whether a person's reason is one of those that the rules of the machine let him say. Writes nothing down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.control import RequestError
from gateway.core.offered_reasons import not_offered

if TYPE_CHECKING:
    from gateway.work_unit.runner import Runner

SHOWN_MAX: Final = 30


def check_reason(machine: str, runner: Runner, what: str, reason: str) -> None:
    """Raises RequestError where ``reasons.only`` refuses it; ``what``: stop, scrap or rework."""
    known = not_offered(runner.unit.rules, what, reason)
    if not known:
        return
    more = f" and {len(known) - SHOWN_MAX} more" if known[SHOWN_MAX:] else ""
    allowed = ", ".join(known[:SHOWN_MAX]) + more
    found = f"{reason[:100]!a}" if reason else "none"
    text = f"{machine}: reason of {what}: found {found}, allowed: {allowed} (work_units.{machine}.reasons)"
    raise RequestError(text, guard="REASON", found=found, allowed=allowed, what_to_do="say one of them")
