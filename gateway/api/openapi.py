"""The OpenAPI 3.1 document of the API, made from the table of routes and the schemas. Serves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.api.answers import REF, schemas
from gateway.api.examples import EXAMPLES
from gateway.api.fields import Field, Matching, body_schema
from gateway.api.problem import CODES, MEDIA_TYPE
from gateway.core.access.permissions import PERMISSIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.api.route import Route

OPENAPI_PATH: Final = "/openapi.json"
KEY_PATTERN: Final = r"^[\x21-\x7e]{1,64}$"
IDEMPOTENCY_KEY: Final = Field(
    "Idempotency-Key",
    Matching(KEY_PATTERN, "1 to 64 printable characters without spaces"),
    "a new one for each decision; the same one again gets the same answer, and nothing is done twice",
)
_ANYWHERE: Final = (
    "BAD_HEADER",
    "WRONG_HOST",
    "FOREIGN_ORIGIN",
    "TOO_MANY_REQUESTS",
    "HEADER_TOO_LARGE",
    "FAILED",
    "BUSY",
    "ANSWER_TIMEOUT",
)
_WITH_TOKEN: Final = ("NOT_AUTHENTICATED", "NOT_PERMITTED", "BAD_FIELD", "REFUSED", "STORE")
_WITH_BODY: Final = (
    "BAD_JSON", "BODY_TIMEOUT", "IDEMPOTENCY_KEY_REUSED", "BODY_TOO_LARGE", "BAD_CONTENT_TYPE",
)  # fmt: skip


def codes_of(route: Route) -> tuple[str, ...]:
    """The problems that this route can answer with."""
    codes: tuple[str, ...] = _ANYWHERE
    if route.actions:
        codes += _WITH_TOKEN
    if route.writes:
        codes += _WITH_BODY
    if route.may_be_missing:
        codes += ("NOT_FOUND",)
    if route.verb == "ready":
        codes += ("NOT_READY", "STORE")
    return codes


def openapi(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "linegate",
            "version": version,
            "description": "Orders, decisions and states of the machines beside one production line.",
        },
        "tags": [{"name": name} for name in dict.fromkeys(map(subject, routes))],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Made with: linegate user token."}
            },
        },
    }


def subject(route: Route) -> str:
    """What it is about, by which the reader of a document finds it: the first word of its path behind the version."""
    first, _, rest = route.path.strip("/").partition("/")
    return rest.partition("/")[0] if rest else first


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.verb,
        "tags": [subject(route)],
        "summary": route.summary,
        "description": _who_may(route),
        "security": [{"token": []}] if route.actions else [],
        "responses": {"200": _response("Done.", "application/json", route.answer), **_refusals(route)},
    }
    parameters = [
        *(_parameter(field, "path") for field in route.params),
        *(_parameter(field, "query") for field in route.query),
        *([_parameter(IDEMPOTENCY_KEY, "header")] if route.writes else []),
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.writes:
        body = {"schema": body_schema(route.body), "example": EXAMPLES[route.verb]}
        operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    return operation


def _who_may(route: Route) -> str:
    if not route.actions:
        return "Needs no token."
    roles = dict.fromkeys(role.value for action in route.actions for role in PERMISSIONS[action].roles)
    depends = "" if route.action_of is None else "; which of them depends on what is asked"
    return f"Roles: {', '.join(roles)}{depends}."


def _refusals(route: Route) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in codes_of(route):
        status, title = CODES[code]
        by_status.setdefault(status, []).append(f"{code}: {title}.")
    return {
        str(status): _response(" ".join(texts), MEDIA_TYPE, "problem") for status, texts in sorted(by_status.items())
    }


def _response(text: str, media_type: str, schema: str) -> dict[str, Any]:
    return {"description": text, "content": {media_type: {"schema": {"$ref": REF.format(model=schema)}}}}


def _parameter(field: Field, place: str) -> dict[str, Any]:
    schema = field.schema()
    text = schema.pop("description")
    return {"name": field.name, "in": place, "required": field.required, "description": text, "schema": schema}
