"""How a variable is named in the configuration: a NodeId or a browse path, both best with namespace URIs. Pure.

Says nothing about whether a node exists: a session finds it anew after each connect.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Short names of namespaces that need not be declared: the companion specifications of the templates.
KNOWN_NAMESPACES: Final = {
    "di": "http://opcfoundation.org/UA/DI/",
    "machinery": "http://opcfoundation.org/UA/Machinery/",
    "packml": "http://opcfoundation.org/UA/PackML/",
    "rubber": "http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/",
    "euromap83": "http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/",
    "euromap77": "http://opcfoundation.org/UA/PlasticsRubber/IMM2MES/",
    "weihenstephan": "http://opcfoundation.org/UA/Weihenstephan/",
}
ROOT: Final = "i=84"
#: Longest browse path, in elements.
ELEMENTS_MAX: Final = 50

#: Text form of a NodeId (OPC 10000-6, 5.3.1.10), with a namespace URI or its short name instead of the index.
_NODE: Final = re.compile(r"(?:ns=(?P<index>\d+);|nsu=(?P<uri>[^;]+);)?(?P<identifier>i=\d+|[sgb]=.+)", re.DOTALL)
_SHORT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
NODE_EXAMPLES: Final = "'nsu=http://vendor/machine;s=Counter', 'ns=2;i=1001' or 'i=2257'"
PATH_EXAMPLES: Final = "'/Objects/packml:Line1/packml:Admin' or '/Objects/{http://vendor/machine}Press/2:Counter'"
#: Marks the next character of a browse path as part of a name (OPC 10000-4, A.2).
_ESCAPE: Final = "&"


class Element(NamedTuple):
    """One step of a browse path: a browse name and its namespace, by URI or else by index."""

    uri: str | None
    namespace: int
    name: str


class Address(NamedTuple):
    """A NodeId as text (``nsu=`` with a whole URI), and the browse path from there; empty: the node itself."""

    node: str
    path: tuple[Element, ...] = ()


def parse(text: str, namespaces: Mapping[str, str], start: Address | None = None) -> Address:
    """An address from text: a NodeId, ``/Objects/...`` from the root, or ``./...`` and ``name`` from ``start``.

    ``namespaces`` are short names besides the known ones. Raises ValueError with what was found and what is allowed.
    """
    if _NODE.fullmatch(text):
        return Address(_whole_uri(text, namespaces))
    return parse_path(text, namespaces, start)


def parse_node(text: str, namespaces: Mapping[str, str]) -> Address:
    """An address from a NodeId as text. Raises ValueError."""
    if _NODE.fullmatch(text) is None:
        raise ValueError(f"found {text!r}, allowed such as {NODE_EXAMPLES}")
    return Address(_whole_uri(text, namespaces))


def parse_path(text: str, namespaces: Mapping[str, str], start: Address | None) -> Address:
    """An address from a browse path. Raises ValueError."""
    elements = tuple(_element(part, text, namespaces) for part in _split(text.removeprefix("/").removeprefix("./")))
    if not elements or len(elements) > ELEMENTS_MAX:
        raise ValueError(f"found {text!r}, allowed 1 to {ELEMENTS_MAX} elements such as {PATH_EXAMPLES}")
    if text.startswith("/"):
        return Address(ROOT, elements)
    if start is None:
        raise ValueError(
            f"found {text!r}, which does not begin with '/', and the source has no start; allowed such as "
            f"{PATH_EXAMPLES}, or set the source's start to the machine's node"
        )
    return Address(start.node, start.path + elements)


def _split(text: str) -> list[str]:
    """Parts between slashes; slashes in braces and escaped ones are part of a name."""
    parts, part, in_braces, escaped = [], "", False, False
    for character in text:
        if escaped:
            escaped = False
        elif character == _ESCAPE and not in_braces:
            escaped = True
        elif character == "{" and not part:
            in_braces = True
        elif character == "}":
            in_braces = False
        elif character == "/" and not in_braces:
            parts.append(part)
            part = ""
            continue
        part += character
    return [*parts, part]


def _element(part: str, text: str, namespaces: Mapping[str, str]) -> Element:
    uri: str | None = None
    index = 0
    name = part
    if part.startswith("{"):
        uri, _brace, name = part[1:].partition("}")
    else:
        prefix, colon, rest = _unescaped_partition(part)
        if colon and prefix.isdecimal():
            index, name = int(prefix), rest
        elif colon:
            uri, name = _uri_of(prefix, text, namespaces), rest
    name = re.sub(r"&(.)", r"\1", name)
    if not name or uri == "":
        raise ValueError(f"found {text!r} with an empty element, allowed such as {PATH_EXAMPLES}")
    return Element(uri, index, name)


def _unescaped_partition(part: str) -> tuple[str, bool, str]:
    match = re.fullmatch(r"((?:&.|[^&:])*):(.*)", part, re.DOTALL)
    return (match[1], True, match[2]) if match else (part, False, "")


def _uri_of(short: str, text: str, namespaces: Mapping[str, str]) -> str:
    found = namespaces.get(short) or KNOWN_NAMESPACES.get(short)
    if found is None:
        known = ", ".join(sorted({*namespaces, *KNOWN_NAMESPACES}))
        raise ValueError(
            f"found {text!r} with the namespace {short!r}, known are {known}; declare it in the source's namespaces, "
            f"or write '&:' for a colon that belongs to the name"
        )
    return found


def _whole_uri(text: str, namespaces: Mapping[str, str]) -> str:
    match = _NODE.fullmatch(text)
    assert match is not None, "checked by the caller"
    uri = match["uri"]
    if uri is None or not _SHORT.fullmatch(uri):
        return text
    return f"nsu={_uri_of(uri, text, namespaces)};{match['identifier']}"


def check_namespaces(namespaces: Mapping[str, str]) -> None:
    """Raise ValueError unless every short name is a word and every URI is text."""
    for short, uri in namespaces.items():
        if not _SHORT.fullmatch(short):
            raise ValueError(f"namespaces: found the short name {short!r}, allowed a word such as 'machine'")
        if not uri:
            raise ValueError(f"namespaces.{short}: found an empty URI, allowed such as 'http://vendor/machine'")
