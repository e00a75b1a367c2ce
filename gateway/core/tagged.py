"""Which of several settings classes a mapping is, told by one of its keys: so that an error names the right class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args, get_type_hints


@dataclass(frozen=True, slots=True)
class TaggedBy:
    """Annotation of a union whose members carry a ``Literal`` under the same key (``mode``, ``driver``)."""

    key: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> dict[str, Any]:
        # A plain dictionary is pydantic's own schema language: the core need not import it.
        members = get_args(source) or (source,)
        return {
            "type": "tagged-union",
            "discriminator": self.key,
            "choices": {self._tag(member): handler.generate_schema(member) for member in members},
        }

    def _tag(self, member: Any) -> str:
        (tag,) = get_args(get_type_hints(member)[self.key])
        return str(tag)
