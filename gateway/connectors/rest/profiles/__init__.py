"""The profiles that come with the connector, and reading one from a file. What a profile means is not decided here."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from gateway.connectors.rest.profile import Profile

#: By their names in the configuration.
SHIPPED: Final = ("kingdee",)
FILE_MAX_BYTES: Final = 1024 * 1024
_FOLDER: Final = Path(__file__).parent


class ProfileError(ValueError):
    """A profile cannot be read: which file, where in it, what was found, what is allowed."""


def is_file(name: str) -> bool:
    """Whether the setting ``profile`` names a file."""
    return name.endswith((".yaml", ".yml"))


@functools.lru_cache(maxsize=8)
def shipped(name: str) -> Profile:
    """A profile that comes with the connector."""
    return read(_FOLDER / f"{name}.yaml")


def read(path: Path) -> Profile:
    """The profile in a file. Raises ProfileError."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ProfileError(f"profile {path}: {error.strerror}; name a file that can be read") from error
    if len(content) > FILE_MAX_BYTES:
        raise ProfileError(f"profile {path}: found more than {FILE_MAX_BYTES} bytes, allowed at most so many")
    try:
        image = yaml.safe_load(content)
        # As JSON, which is how the configuration itself is held against its classes.
        return TypeAdapter(Profile).validate_json(json.dumps(image), strict=True)
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        where = f" line {at.line + 1}, column {at.column + 1}:" if at is not None else ""
        raise ProfileError(f"profile {path}:{where} is no YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, RecursionError) as error:
        raise ProfileError(f"profile {path}: is no YAML of texts, numbers, lists and objects: {error}") from error
    except ValidationError as error:
        lines = "; ".join(map(_line, error.errors(include_url=False)))
        raise ProfileError(f"profile {path}: {lines}") from None


def _line(error: Any) -> str:
    where = ".".join(map(str, error["loc"])) or "profile"
    if error["type"] == "unexpected_keyword_argument":
        allowed = ", ".join(sorted(_keys(Profile, error["loc"][:-1])))
        return f"{where}: found an unknown key" + (f", allowed: {allowed}" if allowed else "")
    return f"{where}: {error['msg']}"


def _keys(kind: Any, path: tuple[int | str, ...]) -> set[str]:
    """The keys that a profile may have at a path; none where that is not fixed."""
    for part in path:
        if isinstance(part, int):
            continue
        if not dataclasses.is_dataclass(kind):
            return set()
        kind = get_type_hints(kind).get(part)
        kind = next((one for one in (kind, *get_args(kind)) if dataclasses.is_dataclass(one)), None)
    return {one.name for one in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
