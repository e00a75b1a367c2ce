"""Who speaks in a request, and what a work unit refuses of his word: the same for every verb of a person.

Recognises nobody: the API does so by a token, the control socket by the user of the process. Decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.control import RequestError, text_of
from gateway.core.model import Notice
from gateway.core.orders.lifecycle import ActorRole
from gateway.core.refusal import REFUSED, parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.model import Output
    from gateway.parts import Parts
    from gateway.work_unit.runner import Runner


def speaker(request: Mapping[str, Any], *, role: ActorRole = ActorRole.SUPERVISOR) -> dict[str, Any]:
    """``who``, ``role``, ``auth`` and ``client`` of an entry.

    ``role`` is taken where nobody asked for a token: who may speak at the control socket may do what a supervisor may.
    Raises RequestError.
    """
    return {
        "who": text_of(request, "who"),
        "role": ActorRole(request["role"]) if "role" in request else role,
        "auth": str(request.get("auth", "")),
        "client": str(request.get("client", "")),
    }


def told(outputs: Sequence[Output], what: str) -> Sequence[Output]:
    """The outputs. Raises RequestError where the work unit refused; ``what`` says what could not be done."""
    for output in outputs:
        if isinstance(output, Notice) and output.code == REFUSED:
            parts = parts_of(output)
            raise RequestError(
                f"{what}: {parts.text}",
                guard=parts.guard,
                found=parts.found,
                allowed=parts.allowed,
                what_to_do=parts.what_to_do,
            )
    return outputs


def runner_of(parts: Parts, request: Mapping[str, Any]) -> tuple[str, Runner]:
    """The machine that is named, with its runner. Raises RequestError."""
    machine = text_of(request, "machine")
    runner = parts.runners.get(machine)
    if runner is None:
        allowed = ", ".join(parts.runners)
        text = f"unknown machine {machine!r}; allowed: {allowed}"
        raise RequestError(text, guard="MACHINE", found=machine, allowed=allowed, what_to_do="name one of them")
    return machine, runner
