"""Turns pydantic's errors into the house's words: what was found, what is allowed, did you mean.

Finds the path in the document that an error means; does not know files or lines.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from config.errors import KeyPath, did_you_mean, listed, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TAG_KEYS: Final = ("mode", "driver", "connector")
_UNKNOWN_KEY: Final = frozenset({"unexpected_keyword_argument", "extra_forbidden"})
_ABOUT_A_KEY: Final = _UNKNOWN_KEY | {"missing"}
_REFERENCE: Final = "#/$defs/"
_EXPECTED_WORD = re.compile(r"'([^']*)'|(-?\d+)")
_OWN_KEY = re.compile(r"(\w+): ")


class Complaint(NamedTuple):
    """One error about the document: its path, whether it is about the key or the value, and the sentence."""

    path: KeyPath
    about_key: bool
    text: str


def complaints(errors: list[Any], document: Any, schema: Mapping[str, Any]) -> list[Complaint]:
    """Every error of a ``ValidationError.errors()``, in our words. Alternatives at one place become one sentence."""
    by_place: dict[tuple[KeyPath, bool], list[str]] = {}
    for error in errors:
        if error["type"] == "string_type" and error["loc"][-1] == "str" and isinstance(error["input"], dict):
            continue  # a text or a mapping was allowed: what is wrong inside of the mapping is told by itself
        complaint = _complaint(error, document, schema)
        texts = by_place.setdefault((complaint.path, complaint.about_key), [])
        if complaint.text not in texts:
            texts.append(complaint.text)
    return [Complaint(path, key, _joined(texts)) for (path, key), texts in by_place.items()]


def path_of(
    loc: tuple[str | int, ...], document: Any, schema: Mapping[str, Any], *, ends_in_key: bool = False
) -> KeyPath:
    """The path that pydantic's ``loc`` means: without the names of classes and the tags of unions."""
    path: list[str | int] = []
    at = document
    tag_seen = False
    for step, item in enumerate(loc):
        last = step == len(loc) - 1
        if isinstance(at, dict):
            # A tag is one only where the schema knows its key: a stray `driver: x` makes no tag of the key `x`.
            tags = [key for key in TAG_KEYS if not tag_seen and key in at and at[key] == item]
            if not (last and ends_in_key) and set(tags) & set(
                schema_at(schema, document, tuple(path)).get("properties", {})
            ):
                tag_seen = True
                continue
            if item in at or (last and item != "[key]"):
                path.append(item)
                at, tag_seen = at.get(item), False
        elif isinstance(at, list) and isinstance(item, int) and item < len(at):
            path.append(item)
            at, tag_seen = at[item], False
    return tuple(path)


def schema_at(schema: Mapping[str, Any], document: Any, path: KeyPath) -> Mapping[str, Any]:
    """The part of a JSON Schema that describes ``path`` of this document; empty where it says nothing."""
    at: Mapping[str, Any] = _resolved(schema, schema, document)
    for key in path:
        below = document[key] if isinstance(document, dict) and key in document else None
        if isinstance(document, list) and isinstance(key, int) and key < len(document):
            below = document[key]
        part = at.get("properties", {}).get(key) or (at.get("items") if isinstance(key, int) else None)
        part = part or at.get("additionalProperties") or next(iter(at.get("patternProperties", {}).values()), {})
        document = below
        at = _resolved(part if isinstance(part, dict) else {}, schema, document)
    return at


def allowed_words(part: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """The words that a part of a JSON Schema lists; empty where any text is allowed."""
    part = _resolved(part, schema, None)
    words = [*part.get("enum", ()), *([part["const"]] if "const" in part else [])]
    return words + [word for below in part.get("anyOf", ()) for word in allowed_words(below, schema)]


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any], document: Any) -> Mapping[str, Any]:
    while "$ref" in part:
        part = schema["$defs"][part["$ref"].removeprefix(_REFERENCE)]
    if "discriminator" in part:
        tag = document.get(part["discriminator"]["propertyName"]) if isinstance(document, dict) else None
        chosen = part["discriminator"].get("mapping", {}).get(tag) if isinstance(tag, str) else None
        return _resolved({"$ref": chosen}, schema, document) if chosen else part
    if "properties" not in part and isinstance(document, dict):
        for candidate in (*part.get("anyOf", ()), *part.get("oneOf", ())):
            resolved = _resolved(candidate, schema, document)
            if resolved.get("type") == "object":
                return resolved
    return part


def _complaint(error: Mapping[str, Any], document: Any, schema: Mapping[str, Any]) -> Complaint:
    kind: str = error["type"]
    ctx: Mapping[str, Any] = error.get("ctx", {})
    path = path_of(error["loc"], document, schema, ends_in_key=kind in _ABOUT_A_KEY)
    found = error["input"]
    if kind == "missing":
        return Complaint(path, about_key=True, text=_missing(schema_at(schema, document, path)))
    if kind in _UNKNOWN_KEY:
        known = list(schema_at(schema, document, path[:-1]).get("properties", {}))
        if not path[:-1] and "gateway" in known and "include" not in known:
            known.append("include")
        near = did_you_mean(str(path[-1]), known)
        return Complaint(path, about_key=True, text=f"unknown key; allowed: {listed(known)}{near}")
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        return _tag(kind, ctx, path, found, schema_at(schema, document, path))
    if error["loc"] and error["loc"][-1] == "[key]":
        text = _found(found, path, f"allowed as a name: {_pattern_words(ctx)}")
        return Complaint(path, about_key=True, text=text)
    if kind in {"value_error", "assertion_error"}:
        return _own(str(ctx.get("error", error["msg"])), path, found)
    return Complaint(path, about_key=False, text=_sentence(kind, ctx, found, path, schema_at(schema, document, path)))


def _missing(part: Mapping[str, Any]) -> str:
    description = part.get("description", "")
    return f"is missing ({description.rstrip('.')})" if description else "is missing"


def _tag(kind: str, ctx: Mapping[str, Any], path: KeyPath, found: Any, part: Mapping[str, Any]) -> Complaint:
    key = ctx["discriminator"].strip("'")
    if kind == "union_tag_not_found":
        allowed = ", ".join(part.get("discriminator", {}).get("mapping", {}))
        return Complaint((*path, key), about_key=True, text="is missing" + (f"; allowed: {allowed}" if allowed else ""))
    allowed_words = [word for word, _ in _EXPECTED_WORD.findall(ctx["expected_tags"])]
    word = found.get(key) if isinstance(found, dict) else None
    near = did_you_mean(word, allowed_words) if isinstance(word, str) else ""
    text = f"found {shown(word, path)}, allowed: {listed(allowed_words)}{near}"
    return Complaint((*path, key), about_key=False, text=text)


def _own(text: str, path: KeyPath, found: Any) -> Complaint:
    """A sentence of a settings class: it may begin with the key it means."""
    if isinstance(found, dict):
        match = _OWN_KEY.match(text)
        if match and match[1] in found:
            return Complaint((*path, match[1]), about_key=False, text=text[match.end() :])
        return Complaint(path, about_key=True, text=text)
    return Complaint(path, about_key=False, text=_found(found, path, text))


def _found(found: Any, path: KeyPath, text: str) -> str:
    return f"found {shown(found, path)}{',' if text.startswith('allowed') else ':'} {text}"


def _joined(texts: list[str]) -> str:
    if len(texts) == 1:
        return texts[0]
    head, _, _ = texts[0].partition(", allowed: ")
    if all(text.startswith(f"{head}, allowed: ") for text in texts):
        return f"{head}, allowed: " + ", or ".join(text.removeprefix(f"{head}, allowed: ") for text in texts)
    return "; or: ".join(texts)


def _sentence(kind: str, ctx: Mapping[str, Any], found: Any, path: KeyPath, part: Mapping[str, Any]) -> str:
    if kind in {"literal_error", "enum"}:
        return _choice(str(ctx["expected"]), found, path)
    if kind == "dataclass_type" and ctx.get("class_name") == "SecretRef":
        return "a secret is not written into the file, allowed: a mapping with one of file, env, credential"
    if kind in _TYPES:
        return f"found {shown(found, path)}, allowed: {_TYPES[kind]}{_quotes_hint(kind, found, path)}"
    if kind in _RANGES:
        return _found(found, path, f"allowed: {_range(part) or _RANGES[kind](ctx)}")
    if kind == "string_pattern_mismatch":
        return _found(found, path, f"allowed: {_pattern_words(ctx)}")
    if kind in {"too_short", "too_long"}:
        least_or_most = f"at least {ctx['min_length']}" if kind == "too_short" else f"at most {ctx['max_length']}"
        return f"found {ctx['actual_length']}, allowed: {least_or_most}"
    reason = str(ctx.get("error") or ctx.get("reason") or kind.replace("_", " "))
    return f"found {shown(found, path)}, which is not allowed here ({reason})"


def _choice(expected: str, found: Any, path: KeyPath) -> str:
    allowed = [word or number for word, number in _EXPECTED_WORD.findall(expected)]
    text = f"found {shown(found, path)}, allowed: {listed(allowed)}"
    if isinstance(found, str):
        return text + did_you_mean(found, allowed)
    if str(found) in allowed and isinstance(found, (int, float)) and f"'{found}'" in expected:
        return f'{text}; write it in quotes: "{found}"'
    return text


def _quotes_hint(kind: str, found: Any, path: KeyPath) -> str:
    if kind in {"string_type", "path_type"} and isinstance(found, (int, float)):
        value = str(found).lower() if isinstance(found, bool) else str(found)
        return (
            "; write it in quotes" if shown(found, path).startswith("a value") else f'; write it in quotes: "{value}"'
        )
    if kind in _NUMBERS and isinstance(found, str):
        return "; write it without quotes" if re.fullmatch(r"-?\d+(\.\d+)?", found) else ""
    if kind == "bool_type" and isinstance(found, str) and found in {"true", "false"}:
        return "; write it without quotes"
    if kind in _LISTS and isinstance(found, str):
        return f"; write [{found}]" if re.fullmatch(r"[\w.-]{1,40}", found) and "'" in shown(found, path) else ""
    return ""


def _range(part: Mapping[str, Any]) -> str:
    for candidate in (part, *part.get("anyOf", ())):
        if "minimum" in candidate and "maximum" in candidate:
            return f"{candidate['minimum']} to {candidate['maximum']}"
    return ""


_PATTERNS: Final = {
    r"^[A-Za-z0-9_-]{1,64}$": "letters, digits, '-' and '_', 1 to 64 of them",
    r"^[a-z][a-z0-9_]*$": "small letters, digits and '_', a letter first",
    r"^[^/+#]{0,64}$": "text without '/', '+' and '#', up to 64 characters",
    r"^[^/+#$][^+#]{0,127}$": "text without '+' and '#' that does not begin with '/' or '$'",
}


def _pattern_words(ctx: Mapping[str, Any]) -> str:
    pattern = str(ctx.get("pattern", ""))
    return _PATTERNS.get(pattern, f"text that matches {pattern}" if pattern else "text")


_NUMBERS: Final = frozenset({"int_type", "float_type", "decimal_type", "int_parsing", "float_parsing"})
_LISTS: Final = frozenset({"list_type", "tuple_type", "set_type", "frozen_set_type"})
_TYPES: Final = {
    "string_type": "text",
    "path_type": "a path",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of sensible size",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "decimal_type": "a number",
    "decimal_parsing": 'a number, such as "0.1"',
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "none_required": "nothing",
    "dict_type": "a mapping (key: value)",
    "mapping_type": "a mapping (key: value)",
    "dataclass_type": "a mapping (key: value)",
    "dataclass_exact_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
} | dict.fromkeys(_LISTS, "a list ([one, two])")
_RANGES: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "greater_than_equal": lambda ctx: f"{ctx['ge']} and above",
    "greater_than": lambda ctx: f"more than {ctx['gt']}",
    "less_than_equal": lambda ctx: f"at most {ctx['le']}",
    "less_than": lambda ctx: f"less than {ctx['lt']}",
    "multiple_of": lambda ctx: f"a multiple of {ctx['multiple_of']}",
    "string_too_short": lambda ctx: f"at least {ctx['min_length']} characters",
    "string_too_long": lambda ctx: f"at most {ctx['max_length']} characters",
}
