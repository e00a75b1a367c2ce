"""Environment variables that override the file: ``LINEGATE_SOURCES__ASM__HOST=10.0.0.5``.

Finds out which key a variable means and lays it over the document by way of pydantic-settings; whether the result is
allowed is decided where the document is. Reads no environment by itself: it is given one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from config.errors import ConfigError, KeyPath, Place, did_you_mean, dotted, listed, shown
from config.scalars import plain_scalar, refuse_unprintable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo

PREFIX: Final = "LINEGATE_"
SEPARATOR: Final = "__"
OVERRIDE_DEPTH_MAX: Final = 16
#: It is in place before variables are looked at, so that they can override what it gives.
TEMPLATE: Final = "template"
_QUOTES: Final = ("'", '"')
_QUOTED_LENGTH_MIN: Final = 2


class Overrides(NamedTuple):
    """What the environment sets: nested data, the place of each path it touches, and what is wrong with it."""

    data: dict[str, Any]
    places: dict[KeyPath, Place]
    errors: list[ConfigError]


def overrides(env: Mapping[str, str], document: Any, sections: tuple[str, ...]) -> Overrides:
    """The overrides that ``env`` holds for this document; ``sections`` are the allowed top-level keys."""
    result = Overrides({}, {}, [])
    for_secrets = set(_secret_variables(document))
    for variable in sorted(env):
        if variable.upper().startswith(PREFIX) and variable not in for_secrets:
            try:
                _take(variable, env[variable], document, sections, result)
            except ConfigError as refusal:
                result.errors.append(refusal)
    return result


def overlaid(document: dict[str, Any], overriding: dict[str, Any]) -> dict[str, Any]:
    """The document with the overriding values laid over it, mapping by mapping; neither argument is changed."""
    if not overriding:
        return dict(document)
    # To load it takes a tenth of the start, which is only due where a variable overrides something.
    from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

    class Layer(PydanticBaseSettingsSource):
        """One layer of values, first layer wins."""

        def __init__(self, settings_cls: type[BaseSettings], data: dict[str, Any]) -> None:
            super().__init__(settings_cls)
            self._data = data

        def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
            """The whole layer: there is one field."""
            del field
            return self._data, field_name, False

        def __call__(self) -> dict[str, Any]:
            return {"document": self._data}

    class Layers(BaseSettings):
        model_config = SettingsConfigDict(extra="forbid")

        document: dict[str, Any]

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            *_ours: PydanticBaseSettingsSource,
            **_named: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (Layer(settings_cls, overriding), Layer(settings_cls, document))

    return Layers().document  # type: ignore[call-arg]  # its only field comes from the layers


def _take(variable: str, text: str, document: Any, sections: tuple[str, ...], result: Overrides) -> None:
    place = Place(f"environment: {variable}")
    words = variable[len(PREFIX) :].split(SEPARATOR)
    allowed = [f"{PREFIX}{section.upper()}{SEPARATOR}..." for section in sections]
    if words[0].lower() not in sections or not all(words):
        near = did_you_mean(words[0], sections)
        raise ConfigError(place, "", f"unknown; allowed: {listed(allowed)}, or a name that a secret's env gives{near}")
    if len(words) > OVERRIDE_DEPTH_MAX:
        raise ConfigError(place, "", f"deeper than the allowed {OVERRIDE_DEPTH_MAX} levels")
    path = _path_of(words, document, place)
    if path[0] == "sources" and path[2:3] == (TEMPLATE,):
        raise ConfigError(place, dotted(path), "a template is chosen in the file; set a key of the source instead")
    try:
        refuse_unprintable(text)
        value = _value_of(text)
    except ValueError as refusal:
        raise ConfigError(place, dotted(path), f"found {shown(text, path)}: {refusal}") from None
    _set(result, path, value, place)


def _path_of(words: list[str], document: Any, place: Place) -> KeyPath:
    path: list[str] = []
    at = document
    for word in words:
        if isinstance(at, list):
            text = "is a list; a variable cannot set one item of a list, change the file instead"
            raise ConfigError(place, ".".join(path), text)
        names = [name for name in at if _as_variable(name) == _as_variable(word)] if isinstance(at, dict) else []
        if len(names) > 1:
            text = f"means {' as well as '.join(sorted(names))}; rename one of them in the file"
            raise ConfigError(place, ".".join(path), text)
        path.append(names[0] if names else word.lower())
        at = at.get(path[-1]) if isinstance(at, dict) else None
    if isinstance(at, (list, dict)):
        kind = "a list" if isinstance(at, list) else f"a mapping; set one of its keys: {place.file[13:]}__..."
        raise ConfigError(place, ".".join(path), f"is {kind}" + ("; change the file instead" * isinstance(at, list)))
    return tuple(path)


def _as_variable(name: str) -> str:
    return name.upper().replace("-", "_")


def _value_of(text: str) -> bool | int | float | str | None:
    quoted = len(text) >= _QUOTED_LENGTH_MIN and text[0] == text[-1] and text[0] in _QUOTES
    return text[1:-1] if quoted else plain_scalar(text)


def _set(result: Overrides, path: KeyPath, value: Any, place: Place) -> None:
    at = result.data
    for length, key in enumerate(path[:-1], start=1):
        at = at.setdefault(str(key), {})
        result.places.setdefault(path[:length], place)
        if not isinstance(at, dict):
            raise ConfigError(place, dotted(path), f"another variable sets {dotted(path[:length])} itself; remove one")
    if path in result.places:
        text = f"{result.places[path].file.removeprefix('environment: ')} sets this or something below it; remove one"
        raise ConfigError(place, dotted(path), text)
    at[str(path[-1])] = value
    result.places[path] = place


def _secret_variables(document: Any) -> Iterator[str]:
    """Names of variables that hold a secret: what stands as the only key ``env`` of a mapping."""
    if isinstance(document, dict):
        if set(document) == {"env"} and isinstance(document["env"], str):
            yield document["env"]
        for below in document.values():
            yield from _secret_variables(below)
    elif isinstance(document, list):
        for below in document:
            yield from _secret_variables(below)
