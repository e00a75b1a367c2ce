"""Templates of messages: a tree of YAML with ``{field|filter:argument}`` in its texts. Pure, and no program: no eval.

A text that is one placeholder becomes the field's typed value; in any other the value is written as text. ``{{`` and
``}}`` are braces. ``{for_each: FIELD, make: TEMPLATE}`` is a list with one TEMPLATE for each member of FIELD, called
``row`` in it. What a template may name is checked when it is made: a field that does not exist is an error of the
configuration, not of the first confirmation.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import MappingError
from gateway.connectors.rest.filters import FILTERS, FilterError, Scope

if TYPE_CHECKING:
    from collections.abc import Collection

DEPTH_MAX: Final = 20
EACH: Final = frozenset({"for_each", "make"})
_PIECE: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_SHOWN: Final = 12


class TemplateError(ValueError):
    """A template is wrong: where, what was found, what is allowed."""


class _Omit:
    """What takes its key, or its place in a list, out of the message."""


OMIT: Final = _Omit()


class Hole(NamedTuple):
    """A placeholder: the field, and the filters with their arguments, in sequence."""

    field: str
    filters: tuple[tuple[str, str], ...]


class Text(NamedTuple):
    """Constant texts and placeholders in turn."""

    parts: tuple[str | Hole, ...]


class Each(NamedTuple):
    """One ``make`` for every member of a list."""

    field: str
    make: Any


class Fields(NamedTuple):
    """What a template may name.

    ``exact`` are whole names, ``roots`` those below which any name may stand, ``lists`` what a ``for_each`` may name.
    """

    exact: Collection[str]
    roots: Collection[str] = ()
    lists: Collection[str] = ()

    def with_row(self) -> Fields:
        """What may be named inside a ``for_each``."""
        return Fields(self.exact, (*self.roots, "row"), (*self.lists, "row"))

    def has(self, name: str) -> bool:
        """Whether it may be named."""
        if name in self.exact or name.partition(".")[0] in self.roots:
            return True
        return any(name.startswith(f"{one}.") for one in self.lists)

    def has_list(self, name: str) -> bool:
        """Whether a ``for_each`` may name it."""
        return name in self.lists or name.partition(".")[0] in self.roots


def compiled(image: Any, where: str, fields: Fields, depth: int = 0) -> Any:
    """The template in a tree of YAML. Raises TemplateError."""
    if depth > DEPTH_MAX:
        raise TemplateError(f"{where}: found more than {DEPTH_MAX} levels, allowed at most so many")
    if isinstance(image, str):
        return _text(image, where, fields)
    if isinstance(image, (list, tuple)):
        return [compiled(one, f"{where}.{number}", fields, depth + 1) for number, one in enumerate(image)]
    if not isinstance(image, dict):
        return image
    if EACH & set(image):
        if set(image) != EACH:
            raise TemplateError(f"{where}: found {', '.join(sorted(image))}, allowed: for_each and make, nothing else")
        name = image["for_each"]
        if not isinstance(name, str) or not fields.has_list(name):
            raise TemplateError(f"{where}.for_each: found {name!r}, allowed: {_listed(fields.lists)}")
        return Each(name, compiled(image["make"], f"{where}.make", fields.with_row(), depth + 1))
    return {name: compiled(one, f"{where}.{name}", fields, depth + 1) for name, one in image.items()}


def filled(template: Any, scope: Scope, where: str) -> Any:
    """The tree with every placeholder filled, keys that are left out gone. Raises MappingError."""
    if isinstance(template, Text):
        return _filled_text(template, scope, where)
    if isinstance(template, Each):
        rows = value_of(scope, template.field)
        if not isinstance(rows, (list, tuple)):
            rows = [] if rows is None else [rows]
        made = [filled(template.make, scope.with_row(row), f"{where}.{number}") for number, row in enumerate(rows)]
        return [one for one in made if one is not OMIT]
    if isinstance(template, list):
        made = [filled(one, scope, f"{where}.{number}") for number, one in enumerate(template)]
        return [one for one in made if one is not OMIT]
    if isinstance(template, dict):
        below = {name: filled(one, scope, f"{where}.{name}") for name, one in template.items()}
        return {name: one for name, one in below.items() if one is not OMIT}
    return template


def value_of(scope: Scope, name: str) -> Any:
    """The value of a field, None where there is none."""
    value: Any = scope.values
    parts = name.split(".")
    for number, part in enumerate(parts):
        if isinstance(value, dict):
            if (rest := ".".join(parts[number:])) in value:  # a name may have dots in it
                return value[rest]
            value = value.get(part)
        elif isinstance(value, (list, tuple)) and part.isascii() and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _text(image: str, where: str, fields: Fields) -> Text | str:
    parts: list[str | Hole] = []
    at = 0
    for match in _PIECE.finditer(image):
        parts.append(image[at : match.start()])
        at = match.end()
        if match[0] in {"{{", "}}"}:
            parts.append(match[0][0])
        elif match[1] is None:
            raise TemplateError(
                f"{where}: found a single {match[0]!r} in {image[:60]!r}, allowed: {{field}}, {{{{, }}}}"
            )
        else:
            parts.append(_hole(match[1], where, fields))
    parts.append(image[at:])
    joined = tuple(part for part in parts if part != "")
    return Text(joined) if any(isinstance(part, Hole) for part in joined) else "".join(map(str, joined))


def _hole(written: str, where: str, fields: Fields) -> Hole:
    name, *words = (one.strip() for one in written.split("|"))
    if not fields.has(name):
        known = sorted(one for one in fields.exact if one.partition(".")[0] == name.partition(".")[0])
        allowed = _listed(known or [*fields.exact, *(f"{root}.*" for root in fields.roots)])
        if name.startswith("secret.") and not known:
            allowed = "a name of the target's secrets; it has none"
        raise TemplateError(f"{where}: found the field {name!r}, allowed: {allowed}")
    filters = []
    for one in words:
        called, _, argument = one.partition(":")
        if called not in FILTERS:
            raise TemplateError(f"{where}: found the filter {called!r}, allowed: {', '.join(sorted(FILTERS))}")
        problem = FILTERS[called].problem(argument)
        if problem:
            raise TemplateError(f"{where}: found {one!r}, allowed: {problem}")
        filters.append((called, argument))
    return Hole(name, tuple(filters))


def _filled_text(template: Text, scope: Scope, where: str) -> Any:
    found = [part if isinstance(part, str) else _filled_hole(part, scope, where) for part in template.parts]
    if any(one is OMIT for one in found):
        return OMIT
    if len(found) == 1 and not scope.mode and isinstance(template.parts[0], Hole):
        return found[0]
    return "".join(
        scope.escape(one, hole=isinstance(part, Hole)) for one, part in zip(found, template.parts, strict=True)
    )


def _filled_hole(hole: Hole, scope: Scope, where: str) -> Any:
    value = value_of(scope, hole.field)
    for called, argument in hole.filters:
        if called == "omit":
            if value is None or value == "":
                return OMIT
            continue
        try:
            value = FILTERS[called].run(value, argument, scope)
        except FilterError as error:
            raise MappingError(f"{where}: {hole.field}: found {value!r}, allowed: {error}") from None
    scope.check(hole.field, value)
    return value


def _listed(names: Collection[str]) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return (", ".join(shown[:_SHOWN]) + more) or "none"
