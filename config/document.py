"""Reads one YAML file into a tree in which every key and value knows its place.

Takes PyYAML's events only, never its constructors: no object is made from a tag. Refuses whatever could be read in
two ways or without bound. Does not know what the keys mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import yaml

from config.errors import ConfigError, ConfigErrors, KeyPath, Place, dotted, may_be_secret, shown
from config.scalars import AmbiguousWord, plain_scalar, refuse_unprintable
from config.syntax import explain

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT_BYTES_MAX: Final = 1024 * 1024
DEPTH_MAX: Final = 32  # of nested mappings and lists
NODES_MAX: Final = 100_000  # keys and values, aliases expanded

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Entry(NamedTuple):
    """A key's place and what stands under it."""

    key_place: Place
    node: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A value with its place: a scalar, a list of nodes, or a mapping of text to entries.

    ``size`` counts all nodes below, aliases expanded; ``height`` the levels of nesting.
    """

    place: Place
    value: bool | int | float | str | list[Node] | dict[str, Entry] | None
    size: int = 1
    height: int = 0


class Flat(NamedTuple):
    """The tree as plain data, with the places of keys and values by path."""

    data: Any
    places: dict[KeyPath, Place]
    key_places: dict[KeyPath, Place]


def read(path: Path, shown_as: str) -> Node:
    """The root mapping of a file. Raises ConfigErrors, also for a file that cannot be read."""
    try:
        if path.is_dir():
            raise ConfigErrors([ConfigError(Place(shown_as), "", "is a directory; name a file in it")])
        with path.open("rb") as file:
            content = file.read(DOCUMENT_BYTES_MAX + 1)
    except FileNotFoundError:
        text = "there is no such file; check the path, or write one with 'linegate init'"
        raise ConfigErrors([ConfigError(Place(shown_as), "", text)]) from None
    except (OSError, ValueError) as failure:
        reason = getattr(failure, "strerror", None) or failure
        text = f"cannot be read: {reason}; check its path, owner and mode"
        raise ConfigErrors([ConfigError(Place(shown_as), "", text)]) from None
    return parse(content, shown_as)


def parse(content: bytes, shown_as: str) -> Node:
    """The root mapping of a document's bytes. Raises ConfigErrors."""
    if len(content) > DOCUMENT_BYTES_MAX:
        text = f"is larger than the allowed {DOCUMENT_BYTES_MAX // 1024} KiB; split it with include"
        raise ConfigErrors([ConfigError(Place(shown_as), "", text)])
    reader = _Reader(_decode(content, shown_as), shown_as)
    try:
        root = reader.document()
    except ConfigError as failure:
        raise ConfigErrors([*reader.errors, failure]) from None
    if reader.errors:
        raise ConfigErrors(reader.errors)
    if root is None or root.value is None:
        raise ConfigErrors([ConfigError(Place(shown_as), "", "is empty; write a first one with 'linegate init'")])
    if not isinstance(root.value, dict):
        text = f"found {'a list' if isinstance(root.value, list) else 'text'}, allowed: a mapping ('gateway:' ...)"
        raise ConfigErrors([ConfigError(root.place, "", text)])
    return root


def flatten(root: Node) -> Flat:
    """Plain dictionaries, lists and scalars, and where each of them stands."""
    flat = Flat(None, {}, {})
    return flat._replace(data=_flatten(root, (), flat))


def _flatten(node: Node, path: KeyPath, flat: Flat) -> Any:
    flat.places[path] = node.place
    if isinstance(node.value, dict):
        flat.key_places.update({(*path, key): entry.key_place for key, entry in node.value.items()})
        return {key: _flatten(entry.node, (*path, key), flat) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [_flatten(item, (*path, at), flat) for at, item in enumerate(node.value)]
    return node.value


def _decode(content: bytes, shown_as: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        before = content[: failure.start].decode("utf-8", "replace")
        text = f"found the byte 0x{content[failure.start]:02x}, allowed: UTF-8; save the file as UTF-8"
        raise ConfigErrors([ConfigError(_place_after(before, shown_as), "", text)]) from None
    odd = _UNPRINTABLE.search(text)
    if odd:
        message = f"found the control character U+{ord(odd[0]):04X}; remove it"
        raise ConfigErrors([ConfigError(_place_after(text[: odd.start()], shown_as), "", message)])
    return text


def _place_after(before: str, shown_as: str) -> Place:
    return Place(shown_as, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


class _Reader:
    """Builds the tree from events; goes on after an error where the rest can still be understood."""

    def __init__(self, text: str, shown_as: str) -> None:
        self.errors: list[ConfigError] = []
        self._text = text
        self._file = shown_as
        self._loader = yaml.SafeLoader(text)
        self._anchors: dict[str, Node] = {}
        self._nodes = 0
        self._path: list[str | int] = []

    def document(self) -> Node | None:
        """The only document of the stream, or None. Raises ConfigError where reading cannot go on."""
        self._next()  # the stream starts
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        root = self._node(self._next(), 0)
        self._next()  # the document ends
        behind = self._next()
        if not isinstance(behind, yaml.StreamEndEvent):
            self._fail(behind, "a second document starts here; one file is one document, use include")
        return root

    def _next(self) -> Any:
        try:
            return self._loader.get_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
        except yaml.MarkedYAMLError as failure:
            mark, text = explain(failure, self._text)
            raise ConfigError(self._place(mark), "", text) from None
        except (yaml.YAMLError, ValueError, OverflowError):
            mark = self._loader.get_mark()
            text = "an escape or a directive that YAML does not know; check the backslashes before here"
            raise ConfigError(self._place(mark), "", text) from None

    def _place(self, mark: Any) -> Place:
        return Place(self._file, mark.line + 1, mark.column + 1) if mark else Place(self._file)

    def _error(self, event: Any, text: str) -> None:
        self.errors.append(ConfigError(self._place(event.start_mark), dotted(tuple(self._path)), text))

    def _fail(self, event: Any, text: str) -> NoReturn:
        raise ConfigError(self._place(event.start_mark), dotted(tuple(self._path)), text)

    def _node(self, event: Any, depth: int) -> Node:
        self._count(event, 1)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        if event.tag is not None:
            name = "" if may_be_secret(tuple(self._path)) else f" {event.tag[:40]}"
            self._error(event, f"found the tag{name}, tags are not allowed; if it is text, put it in quotes")
        if depth >= DEPTH_MAX and not isinstance(event, yaml.ScalarEvent):
            self._fail(event, f"nested deeper than the allowed {DEPTH_MAX} levels")
        if isinstance(event, yaml.ScalarEvent):
            node = Node(place=self._place(event.start_mark), value=self._scalar(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._list(event, depth)
        else:
            node = self._mapping(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _count(self, event: Any, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            self._fail(event, f"more than the allowed {NODES_MAX} keys and values (aliases expanded)")

    def _alias(self, event: Any, depth: int) -> Node:
        target = self._anchors.get(event.anchor)
        if target is None:
            self._fail(event, "an alias (*) whose anchor (&) is not above it; if it is text, put it in quotes")
        self._count(event, target.size)
        if depth + target.height > DEPTH_MAX:
            self._fail(event, f"nested deeper than the allowed {DEPTH_MAX} levels, through an alias")
        return target

    def _scalar(self, event: Any) -> bool | int | float | str | None:
        text: str = event.value
        try:
            refuse_unprintable(text)
            return plain_scalar(text) if event.implicit[0] else text
        except ValueError as refusal:
            self._error(event, f"found {shown(text, tuple(self._path))}: {refusal}")
            return ""

    def _list(self, start: Any, depth: int) -> Node:
        items: list[Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            self._path.append(len(items))
            items.append(self._node(event, depth + 1))
            self._path.pop()
        return self._collection(start, items, items)

    def _mapping(self, start: Any, depth: int) -> Node:
        entries: dict[str, Entry] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, depth)
            self._path.append(key)
            entry = Entry(self._place(event.start_mark), self._node(self._next(), depth + 1))
            if key in entries:
                self._error(event, f"this key is already at {entries[key].key_place}; keep one of the two")
            else:
                entries[key] = entry
            self._path.pop()
        return self._collection(start, entries, [entry.node for entry in entries.values()])

    def _collection(self, start: Any, value: list[Node] | dict[str, Entry], below: list[Node]) -> Node:
        size = 1 + sum(node.size for node in below)
        height = 1 + max((node.height for node in below), default=0)
        return Node(place=self._place(start.start_mark), value=value, size=size, height=height)

    def _key(self, event: Any, depth: int) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._node(event, depth + 1)
            self._error(event, "found a mapping, a list or an alias as a key, allowed: text")
            return ""
        self._count(event, 1)
        if event.tag is not None:
            self._error(event, "found a tag before a key; tags are not allowed")
        if event.implicit[0] and event.value == "<<":
            self._error(event, "merge keys (<<) are not allowed; write the keys out, or use include")
            return "<<"
        value = self._scalar(event)
        if not isinstance(value, str):
            found = "nothing" if value is None else f"{event.value[:20]!r}, which is no text,"
            self._error(event, f'found {found} as a key, allowed: text; write it in quotes: "{event.value[:20]}"')
            return str(event.value)
        if isinstance(value, AmbiguousWord):
            self._error(event, f"found {value!r} as a key: {AmbiguousWord.REFUSAL}")
        return value
