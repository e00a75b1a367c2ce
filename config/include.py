"""Puts a configuration together from the files that it includes: sections are united, a name stands in one file only.

Does not know what the sections mean.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Final

from config.document import Entry, Node, read
from config.errors import ConfigError, ConfigErrors, Place, shown

INCLUDE_DEPTH_MAX: Final = 8
FILES_MAX: Final = 256

_GLOB_CHARACTERS: Final = frozenset("*?[")


def read_with_includes(path: Path) -> tuple[Node, list[str]]:
    """The united root of a file and everything it includes, and warnings. Raises ConfigErrors: all of all files."""
    collector = _Collector()
    collector.take(path, str(path), None)
    if collector.errors:
        raise ConfigErrors(collector.errors)
    return Node(place=Place(str(path), 1, 1), value=collector.sections), collector.warnings


class _Collector:
    """Reads the files depth first and unites their sections."""

    def __init__(self) -> None:
        self.sections: dict[str, Entry] = {}
        self.errors: list[ConfigError] = []
        self.warnings: list[str] = []
        self._open: list[Path] = []
        self._taken: dict[Path, Place] = {}

    def take(self, path: Path, shown_as: str, included_at: Place | None) -> None:
        """Read one file, unite it with the ones before, and follow its includes."""
        try:
            root = read(path, shown_as)
        except ConfigErrors as failure:
            self.errors.extend(failure.errors)
            return
        assert isinstance(root.value, dict)
        real = path.resolve()
        self._open.append(real)
        self._taken[real] = included_at or Place(shown_as)
        for section, entry in root.value.items():
            if section != "include":
                self._unite(section, entry)
        if "include" in root.value:
            self._follow(root.value["include"].node, path.parent)
        self._open.pop()

    def _unite(self, section: str, entry: Entry) -> None:
        before = self.sections.get(section)
        if before is None or before.node.value is None:
            self.sections[section] = entry
            return
        if entry.node.value is None:
            return
        if not isinstance(before.node.value, dict) or not isinstance(entry.node.value, dict):
            text = f"this section is already at {before.key_place}, and not both are mappings"
            self.errors.append(ConfigError(entry.key_place, section, text))
            return
        united = dict(before.node.value)
        for name, below in entry.node.value.items():
            if name in united:
                text = f"this name is already at {united[name].key_place}; keep one of the two"
                self.errors.append(ConfigError(below.key_place, f"{section}.{name}", text))
            else:
                united[name] = below
        self.sections[section] = before._replace(node=Node(place=before.node.place, value=united))

    def _follow(self, listed: Node, folder: Path) -> None:
        if listed.value is None:
            return
        if not isinstance(listed.value, list):
            found = shown(listed.value, ())
            self._error(listed.place, f"found {found}, allowed: a list of files, such as [machines.yaml]")
            return
        for item in listed.value:
            if not isinstance(item.value, str) or not item.value:
                found = shown(item.value, ()) if not isinstance(item.value, dict) else "a mapping"
                self._error(item.place, f"found {found}, allowed: a file or a pattern such as 'machines/*.yaml'")
            elif _GLOB_CHARACTERS.isdisjoint(item.value):
                self._include(folder / item.value, item)
            else:
                self._include_matching(item.value, folder, item)

    def _include_matching(self, pattern: str, folder: Path, item: Node) -> None:
        if "**" in pattern or Path(pattern).is_absolute():
            self._error(
                item.place, "found a pattern with '**' or from the root, allowed: '*' and '?' below this folder"
            )
            return
        try:
            matching = sorted(islice(folder.glob(pattern), FILES_MAX + 1))
        except (OSError, ValueError, NotImplementedError) as failure:
            self._error(item.place, f"found {pattern!r}: not a pattern ({failure}); allowed: such as 'machines/*.yaml'")
            return
        if not matching:
            self.warnings.append(f"{item.place}: include: {pattern!r} matches no file")
        for path in matching:
            self._include(path, item)

    def _include(self, path: Path, item: Node) -> None:
        try:
            real, exists = path.resolve(), path.exists()
        except (OSError, ValueError, RuntimeError) as failure:
            self._error(item.place, f"found {shown(str(path), ())}: not a path ({failure})")
            return
        if real in self._open:
            self._error(item.place, f"{path} includes itself, through this line; remove it")
        elif real in self._taken:
            self._error(item.place, f"{path} is already included at {self._taken[real]}; include it once")
        elif len(self._open) >= INCLUDE_DEPTH_MAX:
            self._error(item.place, f"{path} is included through more than the allowed {INCLUDE_DEPTH_MAX} files")
        elif len(self._taken) >= FILES_MAX:
            self._error(item.place, f"{path} is one more than the allowed {FILES_MAX} files")
        elif not exists:
            self._error(item.place, f"there is no file {path}; paths are relative to the file that includes")
        else:
            self.take(path, str(path), item.place)

    def _error(self, place: Place, text: str) -> None:
        self.errors.append(ConfigError(place, "include", text))
