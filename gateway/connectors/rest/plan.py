"""A profile made ready: every template compiled, every field that it names checked. Pure; sends and reads nothing.

What a profile gets wrong is a PlanError with its place in the profile, before anything is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import STEPS_MAX
from gateway.connectors.rest.placeholders import Fields, TemplateError, compiled
from gateway.connectors.rest.profile import Step

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gateway.connectors.rest.profile import LookUp, Profile, Request

#: Single fields of a confirmation's document.
DOCUMENT: Final = frozenset(
    [
        "confirmation_id",
        "idempotency_key",
        "gateway_id",
        "plant",
        "line",
        "work_center",
        "machine",
        "order_id",
        "order_revision",
        "shop_order",
        "operation",
        "sequence",
        "seq",
        "type",
        "reverses",
        "origin",
        "trigger",
        "period.from",
        "period.to",
        "qty.good",
        "qty.rework",
        "qty.test",
        "qty.hold",
        "qty_cumulative.good",
        "qty_cumulative.rework",
        "qty_cumulative.test",
        "qty_cumulative.hold",
        "uom",
        "product.id",
        "product.revision",
        "times.machine_setup_min",
        "times.labour_setup_min",
        "times.machine_min",
        "times.labour_min",
        "times_cumulative.machine_setup_min",
        "times_cumulative.labour_setup_min",
        "times_cumulative.machine_min",
        "times_cumulative.labour_min",
        "shift",
        "production_day",
        "posting_date",
        "event_day",
        "clear_reservations",
        "over_target",
        "needs_approval",
        "entered_by",
        "reason",
        "tool",
        "cycles",
        "estimated.any",
        "estimated.pieces",
        "estimated.share",
        "coverage",
        "event_time_last",
        "created_at",
        "audit_ref",
        "prev_hash",
        "hash",
    ]
)
#: Lists of it.
LISTS: Final = frozenset(
    [
        "qty.scrap",
        "qty_cumulative.scrap",
        "components",
        "lots",
        "serials",
        "operators",
        "data_quality_flags",
        "reverses_references",
        "erp.reasons",
        "erp.messages",
    ]
)
#: What the mapping makes of it (``gateway.connectors.mapping``), and of the step.
MAPPED: Final = frozenset(
    [
        "erp.good",
        "erp.scrap",
        "erp.rework",
        "erp.finished",
        "erp.unit",
        "erp.unit_code",
        "erp.work_center",
        "erp.posting_date",
        "erp.start",
        "erp.end",
        "step_id",
        "erp.activity.1",
        "erp.activity.2",
        "erp.activity.3",
        "erp.activity.4",
        "erp.activity.5",
        "erp.activity.6",
        "erp.activity_unit.1",
        "erp.activity_unit.2",
        "erp.activity_unit.3",
        "erp.activity_unit.4",
        "erp.activity_unit.5",
        "erp.activity_unit.6",
    ]
)
#: Single fields of a notice; below ``NOTICE_ROOTS`` stands what its type says.
NOTICE_FIELDS: Final = frozenset(
    [
        "schema_version",
        "type",
        "notice",
        "event",
        "message_id",
        "idempotency_key",
        "gateway_id",
        "plant",
        "line",
        "work_center",
        "machine",
        "order_id",
        "order_revision",
        "shop_order",
        "operation",
        "seq",
        "at",
        "created_at",
    ]
)
NOTICE_ROOTS: Final = ("left_out", "detail")
#: What is known of a posting where its document is not at hand: in headers and look-ups.
POSTING: Final = frozenset(["key", "message_id", "order", "operation", "seq", "kind", "attempt", "accepted"])
ORDERS: Final = frozenset(["cursor", "offset", "page", "size", "next"])


class PlanError(ValueError):
    """A profile is wrong: where, what was found, what is allowed."""


class PlanRequest(NamedTuple):
    """A request with its templates compiled; ``kind`` is json, form, xml or "" for none."""

    method: str
    path: Any
    query: Any
    headers: Any
    kind: str
    body: Any


class PlanLookup(NamedTuple):
    """A look-up; ``settings`` has what holds when."""

    request: PlanRequest
    match: Mapping[str, Any]
    settings: LookUp


class PlanStep(NamedTuple):
    """A step; ``settings`` has what is no template."""

    name: str
    request: PlanRequest
    lookup: PlanLookup | None
    settings: Step


class Plan(NamedTuple):
    """A profile made ready, and the values and tables that its templates use."""

    profile: Profile
    values: Mapping[str, str]
    steps: tuple[PlanStep, ...]
    reversal: tuple[PlanStep, ...]
    notice: PlanStep | None
    probe: PlanRequest
    login: PlanRequest | None
    orders: PlanRequest | None
    order: Any
    group: Any
    cursor: Any
    totals: PlanRequest | None
    sums: Mapping[str, Any]


def plan_of(profile: Profile, given: Mapping[str, str], secrets: Collection[str], *, idempotent: bool) -> Plan:
    """The plan of a profile with the values and the names of the secrets of a target. Raises PlanError."""
    unknown = sorted(set(given) - set(profile.values))
    if unknown:
        allowed = ", ".join(sorted(profile.values)) or "none"
        raise PlanError(f"values: found {unknown[0]!r}, allowed: what the profile uses: {allowed}")
    values = {name: given.get(name, usual) for name, usual in profile.values.items()}
    missing = sorted(name for name, value in values.items() if value is None)
    if missing:
        raise PlanError(f"values: {', '.join(missing)} missing; the profile needs them, name them in values")
    try:
        return _plan(profile, {name: str(value) for name, value in values.items()}, secrets, idempotent=idempotent)
    except TemplateError as error:
        raise PlanError(str(error)) from None


def _plan(profile: Profile, values: Mapping[str, str], secrets: Collection[str], *, idempotent: bool) -> Plan:
    own = frozenset(f"value.{name}" for name in values)
    secret = frozenset(f"secret.{name}" for name in secrets)
    row = Fields(own, ("row", "rows"))
    orders, totals, login = profile.orders, profile.totals, profile.login
    steps, reversal = (
        _steps(group, where, own, idempotent=idempotent)
        for group, where in ((profile.steps, "steps"), (profile.reversal, "reversal"))
    )
    if not steps:
        raise PlanError("steps: found none, allowed: at least one")
    sums = {"operation": "", "good": "", "scrap": "", "rework": ""}
    return Plan(
        profile,
        values,
        steps,
        reversal,
        _notice(profile, own),
        _request(profile.probe.request, "probe.request", Fields(own)),
        None if login is None else _request(login.request, "login.request", Fields(own | secret)),
        None if orders is None else _request(orders.request, "orders.request", Fields(own | ORDERS)),
        None if orders is None else compiled(orders.order, "orders.order", row),
        None if orders is None or orders.group is None else compiled(orders.group, "orders.group", row),
        None if orders is None or orders.cursor is None else compiled(orders.cursor, "orders.cursor", row),
        None if totals is None else _request(totals.request, "totals.request", Fields(own | {"order"})),
        {} if totals is None else {name: compiled(getattr(totals, name), f"totals.{name}", row) for name in sums},
    )


def _steps(steps: tuple[Step, ...], where: str, own: frozenset[str], *, idempotent: bool) -> tuple[PlanStep, ...]:
    if len(steps) > STEPS_MAX:
        raise PlanError(f"{where}: found {len(steps)}, allowed at most {STEPS_MAX}")
    made: list[PlanStep] = []
    for number, step in enumerate(steps):
        place = f"{where}.{number}"
        if (
            not step.name.replace("_", "").isalnum()
            or not step.name.isascii()
            or any(step.name == one.name for one in made)
        ):
            raise PlanError(f"{place}.name: found {step.name!r}, allowed: letters, digits and _, each name once")
        if step.lookup is None and not step.repeatable and not idempotent:
            raise PlanError(
                f"{place}: found no lookup, allowed: a lookup, or repeatable: true where a repeat is harmless"
            )
        before = tuple(f"step.{one.name}" for one in made)
        posting = Fields(own | POSTING | frozenset(before), (), before)
        document = Fields(
            own | DOCUMENT | MAPPED | {"key", "message_id", "final", *before},
            ("echo", "machine_states"),
            (*LISTS, *before),
        )
        if step.for_each is not None:
            if not document.has_list(step.for_each) or step.for_each in before:
                raise PlanError(f"{place}.for_each: found {step.for_each!r}, allowed: {', '.join(sorted(LISTS))}")
            document = document.with_row()
        if step.when is not None and not document.has(step.when.field):
            raise PlanError(
                f"{place}.when.field: found {step.when.field!r}, allowed: a field of a confirmation or value.*"
            )
        request = _request(step.request, f"{place}.request", document, headers=posting)
        made.append(PlanStep(step.name, request, _lookup(step, place, posting), step))
    return tuple(made)


def _notice(profile: Profile, own: frozenset[str]) -> PlanStep | None:
    told = profile.notice
    if told is None:
        return None
    fields = Fields(own | NOTICE_FIELDS | {"key"}, NOTICE_ROOTS)
    request = _request(told.request, "notice.request", fields, headers=Fields(own | POSTING))
    # A repeat says nothing else; what a confirmation is booked under, or waits for, is none of a notice's.
    settings = Step(name="notice", request=told.request, answer=told.answer, repeatable=True)
    return PlanStep("notice", request, None, settings)


def _lookup(step: Step, place: str, posting: Fields) -> PlanLookup | None:
    if step.lookup is None:
        return None
    match = {
        path: compiled(image, f"{place}.lookup.match.{path}", posting) for path, image in step.lookup.match.items()
    }
    return PlanLookup(_request(step.lookup.request, f"{place}.lookup.request", posting), match, step.lookup)


def _request(request: Request, where: str, fields: Fields, headers: Fields | None = None) -> PlanRequest:
    kind = next((name for name in ("json", "form", "xml") if getattr(request, name) is not None), "")
    return PlanRequest(
        request.method,
        compiled(request.path, f"{where}.path", fields),
        compiled(request.query, f"{where}.query", fields),
        compiled(request.headers, f"{where}.headers", headers or fields),
        kind,
        compiled(getattr(request, kind), f"{where}.{kind}", fields) if kind else None,
    )
