"""What the answer to a request means, as the profile says. Pure; by status, conditions and codes, never by text."""

from __future__ import annotations

from dataclasses import fields, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import Lookup, LookupKind, Outcome, OutcomeKind
from gateway.connectors.http_answer import (
    CODE_MAX_CHARS,
    DETAIL_MAX_CHARS,
    REFERENCE_MAX_CHARS,
    phrase,
    retry_after_ns,
)
from gateway.connectors.rest.placeholders import filled
from gateway.connectors.rest.tree import NoTreeError, first, tree_of, values, word
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from gateway.connectors.error_classes import ErrorTable
    from gateway.connectors.http import HttpAnswer
    from gateway.connectors.rest.filters import Scope
    from gateway.connectors.rest.plan import PlanLookup
    from gateway.connectors.rest.profile import Answer

SUCCESS: Final = range(200, 300)


class Told(NamedTuple):
    """What an answer says. ``problem`` "" is success; ``refused`` means that the target itself says no."""

    tree: Any
    problem: str
    refused: bool = False
    foreign: bool = False  # something else than the target answers
    codes: tuple[str, ...] = ()


def with_defaults(own: Answer, usual: Answer) -> Answer:
    """An answer's meaning with what it leaves out taken from the profile's."""
    left_out = {one.name: getattr(usual, one.name) for one in fields(own) if getattr(own, one.name) in (None, ())}
    return replace(own, **left_out)


def told(answer: HttpAnswer, meaning: Answer) -> Told:
    """What an answer says, whatever it was asked."""
    what = f"HTTP {answer.status}"
    try:
        tree = tree_of(answer)
    except NoTreeError as error:
        if answer.status in SUCCESS and not answer.body and meaning.ok is None:
            return Told({}, "")
        foreign = answer.status in SUCCESS and bool(answer.body) and not _machine(answer)
        return Told(None, clean(f"{what} with {error}", DETAIL_MAX_CHARS), foreign=foreign)
    codes = tuple(
        clean(text, CODE_MAX_CHARS).strip() for path in meaning.code for text in map(word, values(tree, path)) if text
    )
    message = word(first(tree, meaning.message)) if meaning.message is not None else ""
    shown = clean(f"{what}: {' '.join((*codes, message))}" if codes or message else f"{what} {phrase(answer.status)}")
    shown = clean(shown, DETAIL_MAX_CHARS)
    if answer.status not in SUCCESS:
        return Told(tree, shown, refused=bool(codes), codes=codes)
    if meaning.failed is not None and meaning.failed.holds(tree):
        return Told(tree, shown, refused=True, codes=codes)
    if meaning.ok is not None and not meaning.ok.told(tree):
        return Told(tree, clean(f"{what} with nothing at {meaning.ok.path}", DETAIL_MAX_CHARS), codes=codes)
    if meaning.ok is not None and not meaning.ok.holds(tree):
        return Told(tree, shown, refused=True, codes=codes)
    return Told(tree, "", codes=codes)


def expired(answer: HttpAnswer, meaning: Answer) -> bool:
    """Whether the session has ended: what is answered so was not worked on."""
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return True
    if meaning.expired is None:
        return False
    try:
        return meaning.expired.holds(tree_of(answer))
    except NoTreeError:
        return False


def outcome_of(answer: HttpAnswer, meaning: Answer, table: ErrorTable, now_ns: int, key: str) -> Outcome:
    """How a message ended."""
    said = told(answer, meaning)
    wished_ns = retry_after_ns(answer, now_ns)
    if not said.problem:
        if meaning.accepted is not None and meaning.accepted.holds(said.tree):
            return Outcome(OutcomeKind.ACCEPTED, reference=reference_of(said.tree, meaning.reference))
        reference = reference_of(said.tree, meaning.reference) if meaning.reference else key
        if reference:
            goods_error = goods_error_of(said.tree, meaning.goods_error)
            return Outcome(OutcomeKind.POSTED, reference=reference, goods_error=goods_error)
        return Outcome(OutcomeKind.UNCERTAIN, f"HTTP {answer.status} with no reference")
    return Outcome(_kind(answer, said, meaning, table, wished_ns), said.problem, " ".join(said.codes), "", wished_ns)


def lookup_of(answer: HttpAnswer, lookup: PlanLookup, meaning: Answer, scope: Scope, key: str) -> Lookup:
    """What a look-up found. Raises MappingError for a template that cannot be filled."""
    own = lookup.settings
    said = told(answer, meaning)
    if answer.status in own.absent_status and said.tree is not None:
        return Lookup(LookupKind.ABSENT, detail=said.problem)
    if said.problem:
        return Lookup(LookupKind.UNKNOWN, detail=said.problem)
    rows = [said.tree] if own.rows is None else first(said.tree, own.rows)
    if not isinstance(rows, list):
        return Lookup(LookupKind.UNKNOWN, detail=f"HTTP {answer.status} with no list at {own.rows or 'its top'}")
    wanted = {path: word(filled(one, scope, f"lookup.match.{path}")) for path, one in lookup.match.items()}
    ours = [row for row in rows if all(word(first(row, path)) == text for path, text in wanted.items())]
    for row in ours:
        reference = reference_of(row, own.reference) if own.reference else key
        if (own.booked is None or own.booked.holds(row)) and reference:
            return Lookup(LookupKind.FOUND, reference, goods_error=goods_error_of(row, own.goods_error))
    for row in ours:
        if own.refused is not None and own.refused.holds(row):
            code = clean(word(first(row, own.code)), CODE_MAX_CHARS) if own.code is not None else ""
            return Lookup(LookupKind.REFUSED, reference_of(row, own.reference), "the target has refused it", code)
    waiting = [row for row in ours if own.pending is not None and own.pending.holds(row)]
    if waiting:
        reference = reference_of(waiting[0], own.reference)
        return Lookup(LookupKind.ACCEPTED, reference, "the target still works on it")
    if ours and own.booked is not None and not all(own.booked.told(row) for row in ours):
        return Lookup(LookupKind.UNKNOWN, detail=f"a row with nothing at {own.booked.path}")
    return Lookup(LookupKind.ABSENT)


def goods_error_of(tree: Any, paths: tuple[str, ...]) -> str:
    """Why it is booked without its material: what stands at these paths; "" where nothing does."""
    return clean(": ".join(part for path in paths if (part := word(first(tree, path)))), DETAIL_MAX_CHARS).strip()


def reference_of(tree: Any, paths: tuple[str, ...]) -> str:
    """The reference: what stands at its paths, joined; "" where one of them has nothing."""
    parts = [word(first(tree, path)) for path in paths]
    return clean("/".join(parts), REFERENCE_MAX_CHARS).strip() if parts and all(parts) else ""


def _kind(answer: HttpAnswer, said: Told, meaning: Answer, table: ErrorTable, wished_ns: int | None) -> OutcomeKind:
    if said.foreign:
        return OutcomeKind.PROTOCOL
    if answer.status in SUCCESS:
        if not said.refused:
            return OutcomeKind.UNCERTAIN  # half an answer, or one that does not say
        if meaning.expired is not None and meaning.expired.holds(said.tree):
            return OutcomeKind.AUTH
        return table.of(said.codes)
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE and wished_ns is not None:
        # Who names a time to come back has not worked on it; a bare 503 may come from something in between.
        return OutcomeKind.NOT_SENT
    kind = table.of(said.codes, answer.status)
    if answer.status == HTTPStatus.NOT_FOUND and said.codes and str(answer.status) not in table.own:
        known = table.found(said.codes)
        return OutcomeKind.BUSINESS_REJECT if known is None else known  # the target's own error: it is there
    return kind


def _machine(answer: HttpAnswer) -> bool:
    return "json" in answer.media_type or "xml" in answer.media_type or not answer.media_type
