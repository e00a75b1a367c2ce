"""What other parts refuse, as whoever asked is told it: which guard is in the way, and what to do. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.control import RequestError
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buffer.errors import OutboxError
    from gateway.core.audit.entry import AuditEntryError

#: Of what a person typed, in an advice.
WHICH_CHARS_MAX: Final = 200


def of_posting(error: OutboxError, which: int | str) -> RequestError:
    """A posting that is not there (``POSTING``), or in a state that does not allow it (``STATE``)."""
    guard = "STATE" if error.found else "POSTING"
    todo = (
        f"look at it again: linegate outbox show {clean(str(which), WHICH_CHARS_MAX)}"
        if error.found
        else "linegate outbox list shows them"
    )
    return RequestError(str(error), guard=guard, found=error.found, allowed=error.allowed, what_to_do=todo)


def of_resend(error: OutboxError) -> RequestError:
    """A posting that is not sent again as it was, because of what became of it meanwhile (``POSTED``)."""
    todo = "linegate outbox list shows what became of it"
    return RequestError(str(error), guard="POSTED", found=error.found, allowed=error.allowed, what_to_do=todo)


def of_entry(error: AuditEntryError) -> RequestError:
    """What cannot be written down so (``SIGNATURE``): a text that no entry takes, or another record than was signed."""
    todo = "say it shorter and in one line, then sign what the gateway shows now"
    return RequestError(str(error), guard="SIGNATURE", what_to_do=todo)


def of_target(which: str, target: str, known: Iterable[str]) -> RequestError:
    """A connector that takes no confirmations, or none of that name (``TARGET``); ``known`` are those that do."""
    allowed = ", ".join(sorted(known)) or "none: no connector takes confirmations"
    found = f"found no connector {clean(target, WHICH_CHARS_MAX)!r} that takes confirmations"
    todo = "name one of these, or configure it again (connectors) and restart the gateway"
    return RequestError(
        f"{which}: {found}, allowed: {allowed}; {todo}", guard="TARGET", found=target, allowed=allowed, what_to_do=todo
    )


def of_question(error: Exception) -> RequestError:
    """What cannot be asked of an ERP, or has no answer (``QUESTION``)."""
    return RequestError(str(error), guard="QUESTION", what_to_do="name an order, posting or connector that is there")
