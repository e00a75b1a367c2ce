"""Expands ``template:`` of a source: what the template file says is put under what the source itself says.

Works on the tree of the document, so that every key and value keeps its place, in the template or in the configuration.
Does not know what a driver's keys mean: the expanded source is validated like any other.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from config.document import Entry, Node, flatten, read
from config.errors import ConfigError, ConfigErrors, Place, did_you_mean, dotted, listed, shown
from config.grammar import class_schema
from config.messages import complaints
from gateway.core.rules import FORBID_UNKNOWN_KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from config.grammar import PluginType

SUFFIX: Final = ".yaml"
#: Filled in everywhere without being declared: the name of the source.
BUILT_IN: Final = "source"
#: Keys that a source must say itself.
NOT_IN_SETTINGS: Final = ("driver", "template", "signals")

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([a-z][a-z0-9_]*)\}")
_Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
_Scalar = bool | int | float | str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TemplateParameter:
    """What a template leaves open.

    Attributes:
        meaning: what it is, for the one who fills it in.
        default: its value where the source names none; without a default the source must.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    meaning: str
    default: _Scalar | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template file: the signals of a kind of device, as data.

    Attributes:
        title: what device it is for.
        facts: where its facts come from (manual, standard, measurement).
        driver: the driver it is for, where that does not follow from its folder.
        parameters: what the source may or must fill in, by name; ``{name}`` in the texts of settings and signals is
            replaced.
        settings: defaults of the source's keys.
        signals: name to the driver's keys of a signal.
        work_unit: rules to copy into ``work_units``, as YAML text.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    title: str
    facts: str | tuple[str, ...]
    driver: str | None = None
    parameters: dict[_Identifier, TemplateParameter] = dataclasses.field(default_factory=dict)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    signals: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    work_unit: str = ""

    def __post_init__(self) -> None:
        """Keys that are not a template's business."""
        for key in NOT_IN_SETTINGS:
            if key in self.settings:
                raise ValueError(f"settings: found {key}, which every source says itself; remove it")
        if BUILT_IN in self.parameters:
            raise ValueError(f"parameters: found {BUILT_IN}, which always is the name of the source; choose another")


class _File(NamedTuple):
    """A template that passed its own checks; ``name`` is how errors call it."""

    name: str
    template: Template
    root: Mapping[str, Entry]


def names(folder: Path | None) -> tuple[str, ...]:
    """The templates of a folder, by the names that ``template:`` uses."""
    return () if folder is None else tuple(sorted(file.stem for file in folder.glob(f"*{SUFFIX}")))


def load_template(path: Path, shown_as: str) -> tuple[Template, Node]:
    """A template file and its tree. Raises ConfigErrors with everything that is wrong in it."""
    root = read(path, shown_as)
    flat = flatten(root)
    try:
        return TypeAdapter(Template).validate_json(json.dumps(flat.data), strict=True), root
    except ValidationError as failure:
        found = complaints(list(failure.errors(include_url=False)), flat.data, class_schema(Template))
    errors = []
    for complaint in found:
        above = [complaint.path[:length] for length in range(len(complaint.path), -1, -1)]
        known = flat.key_places if complaint.about_key else flat.places
        place = next((known[at] for at in above if at in known), root.place)
        errors.append(ConfigError(place, dotted(complaint.path), complaint.text))
    raise ConfigErrors(errors)


def expanded(root: Node, drivers: Mapping[str, PluginType], base_dir: Path) -> Node:
    """The document with every source's template in place. Raises ConfigErrors: all of all sources.

    Paths of template files start at ``base_dir``. A source whose driver is missing or unknown is left as it is.
    """
    assert isinstance(root.value, dict)
    section = root.value.get("sources")
    if section is None or not isinstance(section.node.value, dict):
        return root
    expander = _Expander({name: getattr(plugin, "templates", None) for name, plugin in drivers.items()}, base_dir)
    sources = {
        name: entry._replace(node=expander.source(name, entry.node)) for name, entry in section.node.value.items()
    }
    if expander.errors:
        raise ConfigErrors(expander.errors)
    united = section._replace(node=dataclasses.replace(section.node, value=sources))
    return dataclasses.replace(root, value={**root.value, "sources": united})


class _Expander:
    """Expands one source after the other; reads each template file once."""

    def __init__(self, folders: Mapping[str, Path | None], base_dir: Path) -> None:
        self.errors: list[ConfigError] = []
        self._folders = folders
        self._base_dir = base_dir
        self._files: dict[Path, _File | None] = {}

    def source(self, name: str, own: Node) -> Node:
        """The source with what its template gives; the source itself after an error, or where it names none."""
        written = own.value if isinstance(own.value, dict) else {}
        driver = written["driver"].node.value if "driver" in written else None
        use = written.get("template")
        if use is None or use.node.value is None or not isinstance(driver, str) or driver not in self._folders:
            return own
        path = f"sources.{name}.template"
        named = self._name_and_arguments(use.node, path)
        file = self._file(named[0], driver, path) if named is not None else None
        if named is None or file is None:
            return own
        values = self._values(file, named, name, path)
        if values is None:
            return own
        filled = _Filling(values, file.name, self.errors)
        given = {key: filled.entry(file.root[key]).node for key in ("settings", "signals") if key in file.root}
        return _united(own, given)

    def _error(self, place: Place, path: str, text: str) -> None:
        self.errors.append(ConfigError(place, path, text))

    def _name_and_arguments(self, use: Node, path: str) -> tuple[Node, Mapping[str, Entry]] | None:
        allowed = "allowed: a name, or a mapping such as { name: NAME, with: { parameter: value } }"
        if isinstance(use.value, str):
            return use, {}
        if not isinstance(use.value, dict):
            self._error(use.place, path, f"found {shown(use.value, ())}, {allowed}")
            return None
        for key, entry in use.value.items():
            if key not in {"name", "with"}:
                near = did_you_mean(key, ("name", "with"))
                self._error(entry.key_place, f"{path}.{key}", f"unknown key; allowed: name, with{near}")
                return None
        name = use.value["name"].node if "name" in use.value else None
        if name is None or not isinstance(name.value, str):
            self._error(use.place if name is None else name.place, path, f"names no template, {allowed}")
            return None
        arguments = use.value["with"].node if "with" in use.value else None
        if arguments is None or arguments.value is None:
            return name, {}
        if not isinstance(arguments.value, dict):
            text = f"found {shown(arguments.value, ())}, allowed: a mapping of parameter to value"
            self._error(arguments.place, f"{path}.with", text)
            return None
        return name, arguments.value

    def _file(self, name: Node, driver: str, path: str) -> _File | None:
        assert isinstance(name.value, str)
        found = self._find(name.value, driver)
        if isinstance(found, str):
            self._error(name.place, path, found)
            return None
        file, shown_as = found
        if file not in self._files:
            self._files[file] = self._read(file, shown_as)
        template = self._files[file]
        if template is not None and template.template.driver not in (None, driver):
            text = (
                f"found {name.value!r}, a template for driver {template.template.driver!r}, allowed: one for {driver!r}"
            )
            self._error(name.place, path, text)
            return None
        return template

    def _find(self, name: str, driver: str) -> tuple[Path, str] | str:
        """The file of a template and how errors call it, or why there is none."""
        if name.endswith(SUFFIX):
            path = self._base_dir / name
            try:
                exists = path.is_file()
            except (OSError, ValueError) as failure:
                return f"found {shown(name, ())}: not a path ({failure})"
            return (path, str(path)) if exists else f"there is no file {path}; the path starts at the configuration"
        known = names(self._folders[driver])
        folder = self._folders[driver]
        if folder is not None and name in known:
            return folder / f"{name}{SUFFIX}", f"{folder.parent.name}/{folder.name}/{name}{SUFFIX}"
        others = [other for other, folder in self._folders.items() if name in names(folder)]
        found = f"found {shown(name, ())}, "
        found += f"a template for driver {others[0]!r}" if others else f"driver {driver!r} has no such template"
        return f"{found}; allowed: {listed(known) or 'none'}, or a file *{SUFFIX}{did_you_mean(name, known)}"

    def _read(self, path: Path, shown_as: str) -> _File | None:
        try:
            template, root = load_template(path, shown_as)
        except ConfigErrors as failure:
            self.errors.extend(failure.errors)
            return None
        assert isinstance(root.value, dict)
        return _File(shown_as, template, root.value)

    def _values(
        self, file: _File, named: tuple[Node, Mapping[str, Entry]], source: str, path: str
    ) -> dict[str, Node] | None:
        """Parameter to value; None after an error."""
        name, arguments = named
        before = len(self.errors)
        declared = file.template.parameters
        values = {BUILT_IN: Node(place=name.place, value=source)}
        for key, entry in arguments.items():
            at = f"{path}.with.{key}"
            if key not in declared:
                near = did_you_mean(key, declared)
                text = f"{file.name} has no such parameter; allowed: {listed(declared) or 'none'}{near}"
                self._error(entry.key_place, at, text)
            elif not isinstance(entry.node.value, _Scalar):
                text = f"found {shown(entry.node.value, ())}, allowed: a text or a number ({declared[key].meaning})"
                self._error(entry.node.place, at, text)
            else:
                values[key] = entry.node
        for key, parameter in declared.items():
            if parameter.default is not None:
                values.setdefault(key, Node(place=name.place, value=parameter.default))
            elif key not in arguments:
                text = f"{file.name} needs the parameter {key} ({parameter.meaning.rstrip('.')}); write it under with"
                self._error(name.place, path, text)
        return values if len(self.errors) == before else None


class _Filling:
    """Puts the values of parameters into the texts of a template."""

    def __init__(self, values: Mapping[str, Node], file: str, errors: list[ConfigError]) -> None:
        self._values = values
        self._file = file
        self._errors = errors

    def entry(self, entry: Entry) -> Entry:
        """A copy with every ``{parameter}`` replaced."""
        return entry._replace(node=self._node(entry.node))

    def _node(self, node: Node) -> Node:
        if isinstance(node.value, dict):
            return dataclasses.replace(node, value={key: self.entry(below) for key, below in node.value.items()})
        if isinstance(node.value, list):
            return dataclasses.replace(node, value=[self._node(below) for below in node.value])
        return self._text(node, node.value) if isinstance(node.value, str) and "{" in node.value else node

    def _text(self, node: Node, text: str) -> Node:
        whole = _PLACEHOLDER.fullmatch(text)
        if whole is not None and whole[1] in self._values:
            return self._values[whole[1]]  # a number stays a number, and an error points to who gave it
        return dataclasses.replace(node, value=_PLACEHOLDER.sub(lambda found: self._replaced(found, node), text))

    def _replaced(self, found: re.Match[str], node: Node) -> str:
        if found[1] is None:
            return found[0][0]
        value = self._values.get(found[1])
        if value is None:
            text = f"found {found[0]}, which is no parameter; allowed: {listed(self._values)}; a brace itself is {{{{"
            self._errors.append(ConfigError(node.place, "", text))
            return ""
        return str(value.value).lower() if isinstance(value.value, bool) else str(value.value)


def _united(own: Node, given: Mapping[str, Node]) -> Node:
    """The source over what the template gives; a signal that the source sets to nothing is left out."""
    assert isinstance(own.value, dict)
    settings = given.get("settings", Node(place=own.place, value={}))
    entries = _over(own, settings).value
    assert isinstance(entries, dict)
    signals = given.get("signals")
    if signals is not None:
        mine = own.value.get("signals")
        if mine is None or mine.node.value is None:
            entries["signals"] = Entry(own.value["template"].key_place, signals)
        elif isinstance(mine.node.value, dict):
            left_out = {name for name, entry in mine.node.value.items() if entry.node.value is None}
            united = _over(mine.node, signals)
            assert isinstance(united.value, dict)
            kept = {name: entry for name, entry in united.value.items() if name not in left_out}
            entries["signals"] = mine._replace(node=dataclasses.replace(united, value=kept))
    return dataclasses.replace(own, value=entries)


def _over(own: Node, given: Node) -> Node:
    """Mappings are united key by key, and what ``own`` says wins."""
    if not isinstance(own.value, dict) or not isinstance(given.value, dict):
        return own
    entries = dict(given.value)
    for key, entry in own.value.items():
        below = entries.get(key)
        entries[key] = entry if below is None else entry._replace(node=_over(entry.node, below.node))
    return dataclasses.replace(own, value=entries)
