"""A target's answer as a tree, and paths into it. Pure; knows nothing of orders and bookings.

A path is names and numbers with dots between (``Result.ResponseStatus.Errors.0.Message``); ``*`` is every member of a
list. JSON numbers are decimal; XML becomes objects by element name, with attributes as ``@name`` and repeated elements
as a list, namespaces left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from gateway.connectors.http import HttpAnswer


class NoTreeError(Exception):
    """The answer is neither JSON nor XML; says what it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Holds where one of the values at a path is one of some words; never where there is nothing.

    Attributes:
        path: where to look in the answer.
        any_of: the words, as they are written: ``true`` and "true" are the same; a list or an object is "". Without it
            anything will do.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    path: str
    any_of: tuple[bool | int | str, ...] | None = None

    def holds(self, tree: Any) -> bool:
        """Whether it does."""
        found = values(tree, self.path)
        if self.any_of is None:
            return bool(found)
        words = {word(one) for one in self.any_of}
        return any(word(one) in words for one in found)

    def told(self, tree: Any) -> bool:
        """Whether there is anything at the path."""
        return bool(values(tree, self.path))


def tree_of(answer: HttpAnswer) -> Any:
    """The tree of an answer's body. Raises NoTreeError."""
    if "html" in answer.media_type:
        raise NoTreeError("an HTML page")
    try:
        if "xml" in answer.media_type or answer.body.lstrip()[:1] == b"<":
            root = fromstring(answer.body)
            return {_local(root.tag): _element(root)}
        return json.loads(answer.body, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError, ParseError, DefusedXmlException) as error:
        raise NoTreeError(f"a body that is neither JSON nor XML ({answer.media_type or 'no content type'})") from error


def values(tree: Any, path: str) -> list[Any]:
    """Everything at a path; empty where there is nothing. The empty path is the tree itself."""
    if not path:
        return [tree]
    if isinstance(tree, dict) and path in tree:  # a name may have dots in it
        return [tree[path]]
    part, _, rest = path.partition(".")
    return [found for below in _below(tree, part) for found in values(below, rest)]


def first(tree: Any, path: str) -> Any:
    """The first value at a path, None where there is nothing."""
    found = values(tree, path)
    return found[0] if found else None


def word(value: Any) -> str:
    """A single value as it would be written; "" for nothing and for what is no single value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value) if isinstance(value, (str, int)) else ""


def _below(one: Any, part: str) -> list[Any]:
    if isinstance(one, dict):
        return [one[part]] if part in one else []
    if not isinstance(one, list):
        return []
    if part == "*":
        return one
    return [one[int(part)]] if part.isascii() and part.isdigit() and int(part) < len(one) else []


def _element(element: Element) -> Any:
    content: dict[str, Any] = {f"@{_local(name)}": text for name, text in element.attrib.items()}
    for child in element:
        name, below = _local(child.tag), _element(child)
        if name not in content:
            content[name] = below
        elif isinstance(content[name], list):
            content[name].append(below)
        else:
            content[name] = [content[name], below]
    text = (element.text or "").strip()
    if not content:
        return text
    return {**content, "#": text} if text else content


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _no_constant(name: str) -> None:
    raise ValueError(f"found {name}, which is not JSON")
