"""Answers requests: finds the route, asks who it is and whether he may, checks the fields, calls the verb, answers.

Each route is a row of ``routes.py``. It decides nothing about orders: that is the verbs' business. A decision goes on
when the one who asked has gone or does not wait; the same Idempotency-Key finds its answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route as Path
from starlette.routing import Router

from buffer.errors import StoreError
from gateway.access.caller import TAKEN
from gateway.api import body as bodies
from gateway.api.fields import PASSPHRASE, checked, of_texts
from gateway.api.gate import ROOM
from gateway.api.openapi import IDEMPOTENCY_KEY, KEY_PATTERN, OPENAPI_PATH, openapi
from gateway.api.problem import CODES, FOUND_CHARS_MAX, Problem, ProblemError, refuse, shown
from gateway.api.reply import JSON, OK, Reply, refusal, reply
from gateway.control import RequestError
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from buffer.replays import TakenKey
    from gateway.access.tokens import Bearer
    from gateway.api.identity import Identity
    from gateway.api.replays import Replays
    from gateway.api.route import Route
    from gateway.control import Verb

NS_PER_S: Final = 1_000_000_000
QUERY_FIELDS_MAX: Final = 20
#: Refusals that the log was told of where they were made.
_TOLD: Final = frozenset({"NOT_AUTHENTICATED", "NOT_PERMITTED"})
#: Between two looks whether the token of a request that waits is still accepted.
TOKEN_LOOK_S: Final = 0.5

log = structlog.get_logger(__name__)


class Answering(NamedTuple):
    """Limits of one request."""

    body: bodies.BodyLimits
    timeout_ns: int


class Service:
    """The API as an ASGI application, without what stands in front of it (``gate.py``)."""

    def __init__(
        self,
        routes: Sequence[Route],
        verbs: Mapping[str, Verb],
        *,
        identity: Identity,
        replays: Replays,
        limits: Answering,
        version: str,
    ) -> None:
        self._verbs = verbs  # the gateway's own table: a changed configuration exchanges verbs in it
        self._identity = identity
        self._replays = replays
        self._limits = limits
        described = Reply(OK, orjson.dumps(openapi(routes, version)), JSON)
        paths = [Path(route.path, self._endpoint(route), methods=[route.method]) for route in routes]
        paths.append(Path(OPENAPI_PATH, self._document(described), methods=["GET"]))
        self._methods: dict[str, set[str]] = {}  # of paths without parameters
        for path in paths:
            if not path.param_convertors:
                self._methods.setdefault(path.path, set()).update(path.methods or ())
        self._router = Router(paths, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Raises ProblemError where no route takes it."""
        scope["app"] = self  # the router then raises where it would answer by itself
        known = self._methods.get(scope["path"])
        if known is not None and scope["method"] not in known:
            raise _method_not_allowed(scope, known)  # else a row with a parameter would take the path's last word
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            if error.status_code == CODES["METHOD_NOT_ALLOWED"][0]:
                raise _method_not_allowed(scope, (error.headers or {}).get("Allow", "").split(", ")) from error
            raise refuse("NOT_FOUND", f"found {_asked(scope)}; allowed: see {OPENAPI_PATH}") from error

    def _document(self, described: Reply) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            self._identity.spend(_client(request))
            return _response(described)

        return endpoint

    def _endpoint(self, route: Route) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                return _response(await self._answer(route, request))
            except ProblemError as error:
                return _response(refusal(error.problem))

        return endpoint

    async def _answer(self, route: Route, request: Request) -> Reply:
        if not route.actions:
            self._identity.spend(_client(request))
            return await self._read(route, _given(route, request))
        bearer = self._identity.bearer(request.scope["headers"], _client(request))
        try:
            return await self._permitted(route, request, bearer)
        except ProblemError as error:
            if (code := error.problem.code) not in _TOLD:
                part, token = f"{bearer.user} {route.verb}", bearer.token_id
                log.warning("api request refused", code=code, part=part, credential=token, client=_client(request))
            raise

    async def _permitted(self, route: Route, request: Request, bearer: Bearer) -> Reply:
        self._identity.permit(route, bearer, None, _client(request))
        given = _given(route, request)
        if route.waits:
            return await self._wait(route, request, bearer, {**given, **_who(bearer, request)})
        if not route.writes:
            return await self._read(route, {**given, **_who(bearer, request)})
        key = _key(request)
        bodies.check_type(request.scope["headers"])
        body = await bodies.received(request.scope["headers"], request.receive, self._limits.body)
        said = checked(route.body, bodies.parsed(body), "body")
        self._identity.permit(route, bearer, said, _client(request))
        return await self._once(route, bearer, key, {**given, **said, **_who(bearer, request)})

    async def _read(self, route: Route, asked: dict[str, Any]) -> Reply:
        try:
            async with asyncio.timeout(self._limits.timeout_ns / NS_PER_S):
                return await self._done(route, asked)
        except TimeoutError as error:
            raise self._too_slow("ask for less, or come again") from error

    async def _wait(self, route: Route, request: Request, bearer: Bearer, asked: dict[str, Any]) -> Reply:
        """An answer that comes when there is one; the verb itself says when that is, at the latest.

        Raises ProblemError, once the token is not accepted any more: nothing that happens then is told to it.
        """
        with request.scope[ROOM].aside(asked["credential"]):
            answer = asyncio.create_task(self._done(route, asked), name=f"api {route.verb}")
            gone = asyncio.create_task(_gone(request), name="api client")
            try:
                done: set[asyncio.Task[Any]] = set()
                while not done:
                    done, _ = await asyncio.wait(
                        {answer, gone}, timeout=TOKEN_LOOK_S, return_when=asyncio.FIRST_COMPLETED
                    )
                    self._identity.still(bearer, _client(request))
            finally:
                gone.cancel()
                if not answer.done():
                    answer.cancel()
        if answer.cancelled() or not answer.done():
            raise refuse("BUSY", "the one who asked has gone")
        return answer.result()

    async def _once(self, route: Route, bearer: Bearer, key: str, asked: dict[str, Any]) -> Reply:
        """The answer to a decision that is taken once under its key."""
        said = {name: value for name, value in asked.items() if name not in _WHO and name != PASSPHRASE}
        digest = hashlib.sha256(orjson.dumps([route.verb, said], option=orjson.OPT_SORT_KEYS)).digest()
        task = self._replays.found(bearer.user, key, digest)
        again = task is not None
        if task is None:
            taken = self._replays.taken(bearer.user, key, digest)
            made = asyncio.create_task(self._taken(route, asked, taken), name=f"api {route.verb}")
            self._replays.keep(taken, made)
            made.add_done_callback(partial(self._ended, route, bearer, key))
            task = made
        await asyncio.wait({task}, timeout=self._limits.timeout_ns / NS_PER_S)
        if not task.done():
            raise self._too_slow(
                "it may still be done: send it again with the same Idempotency-Key to learn how it ended"
            )
        if task.cancelled():
            raise refuse("BUSY", "the gateway is stopping")
        answer = task.result()
        return answer._replace(headers=(*answer.headers, ("Idempotency-Replayed", "true"))) if again else answer

    def _ended(self, route: Route, bearer: Bearer, key: str, task: asyncio.Future[Reply]) -> None:
        problem = None if task.cancelled() else task.result().problem
        if task.cancelled() or _is_untouched(problem):
            self._replays.forget(bearer.user, key)  # surely nothing was decided
        said = log.info if problem is None else log.warning
        code = "STOPPED" if task.cancelled() else "DONE" if problem is None else problem.code
        part = f"{bearer.user} {route.verb}"
        said("api decision", code=code, part=part, role=bearer.role.value, credential=bearer.token_id)

    async def _taken(self, route: Route, asked: dict[str, Any], taken: TakenKey) -> Reply:
        """A decision, whose key goes with it; its answer is kept before it is given."""
        TAKEN.set(taken)  # of this task alone
        answer = await self._done(route, asked)
        if _is_untouched(answer.problem):
            return answer
        try:
            await self._replays.answered(taken, answer)
        except StoreError as error:
            log.warning("api answer not kept", part=route.verb, error=str(error))
        return answer

    async def _done(self, route: Route, asked: dict[str, Any]) -> Reply:
        try:
            result = await self._verbs[route.verb]({**asked, "verb": route.verb})
            return reply({"done": result} if route.writes else result)
        except ProblemError as error:
            return refusal(error.problem)
        except RequestError as error:
            parts = (error.guard, error.found, error.allowed)
            missing = route.may_be_missing and error.guard == "MACHINE"
            code = "NOT_FOUND" if missing else "REFUSED"
            return refusal(Problem(code, str(error), todo=error.what_to_do, parts=parts))
        except StoreError as error:
            return refusal(Problem("STORE", f"the buffer: {error}", todo="see linegate status; come again"))
        except Exception as error:  # a defect at one question is told to the one who asked, and ends nothing
            log.exception("api request failed", part=route.verb)
            text = f"{route.verb}: {type(error).__name__}"
            return refusal(Problem("FAILED", text, todo="see the gateway's log and report it"))

    def _too_slow(self, todo: str) -> ProblemError:
        text = f"no answer within {self._limits.timeout_ns / NS_PER_S:g} s (api.request_timeout)"
        return refuse("ANSWER_TIMEOUT", text, todo=todo)


def _is_untouched(problem: Problem | None) -> bool:
    """Whether surely nothing was decided, and the same request may end otherwise: its key is not used up.

    A key stands for what is asked, never for a passphrase: who mistyped his own sends the same once more.
    """
    return problem is not None and (problem.code == "STORE" or problem.parts[0] == "SIGNATURE")


#: What a verb is told of the one who asks; no field of a request is named so.
_WHO: Final = ("who", "full_name", "role", "expires_ns", "credential", "auth", "client")


def _who(bearer: Bearer, request: Request) -> dict[str, Any]:
    known = (bearer.user, bearer.full_name, bearer.role.value, bearer.expires_ns, bearer.token_id)
    told = (*known, f"token {bearer.token_id}", _client(request))
    return dict(zip(_WHO, told, strict=True))


async def _gone(request: Request) -> None:
    """Until the client closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _given(route: Route, request: Request) -> dict[str, Any]:
    """What path and query say. Raises ProblemError."""
    path = of_texts(route.params, list(request.path_params.items()), "path")
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=QUERY_FIELDS_MAX,
        )
    except ValueError as error:
        raise refuse("BAD_FIELD", f"query: found {shown(str(error))}, allowed: name=value in UTF-8") from error
    return {**path, **of_texts(route.query, pairs, "query")}


def _key(request: Request) -> str:
    found: list[str] = request.headers.getlist("idempotency-key")
    if len(found) != 1 or re.fullmatch(KEY_PATTERN[1:-1], found[0]) is None:
        allowed = IDEMPOTENCY_KEY.kind.allowed
        value = shown(found[0]) if found else "nothing"
        wrong = ({"field": IDEMPOTENCY_KEY.name, "found": value, "allowed": allowed},)
        todo = "send a new random one with each decision, and the same one only to repeat it"
        raise refuse("BAD_HEADER", f"Idempotency-Key: found {value}, allowed: {allowed}", fields=wrong, todo=todo)
    return found[0]


def _asked(scope: Scope) -> str:
    return f"{scope['method']} {clean(scope['path'], FOUND_CHARS_MAX)}"


def _method_not_allowed(scope: Scope, methods: Iterable[str]) -> ProblemError:
    allowed = ", ".join(sorted(methods))
    return refuse("METHOD_NOT_ALLOWED", f"found {_asked(scope)}, allowed: {allowed}", headers=(("Allow", allowed),))


def _client(request: Request) -> str:
    return "" if request.client is None else str(request.client.host)


def _response(answer: Reply) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers), answer.media_type)
