"""An answer as it goes out: status, body, headers. Made once, sent as often as it is asked for."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from gateway.api.problem import MEDIA_TYPE, Problem

JSON: Final = "application/json"
OK: Final = 200


class Reply(NamedTuple):
    """``problem``: None where it is no refusal."""

    status: int
    body: bytes
    media_type: str
    headers: tuple[tuple[str, str], ...] = ()
    problem: Problem | None = None


def reply(document: Any) -> Reply:
    """The answer to a request that was done."""
    return Reply(OK, orjson.dumps(document), JSON)


def refusal(problem: Problem) -> Reply:
    """The answer to a request that was refused."""
    headers = problem.headers
    if problem.retry_after_s is not None:
        headers = (*headers, ("Retry-After", str(problem.retry_after_s)))
    return Reply(problem.status, orjson.dumps(problem.document()), MEDIA_TYPE, headers, problem)
