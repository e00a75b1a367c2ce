"""A secret is named in the configuration, never written there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """Where a secret is: exactly one of a file, an environment variable, or a systemd credential.

    Attributes:
        file: path of a file that only its owner may read; one trailing newline is dropped.
        env: name of an environment variable.
        credential: name of a systemd credential (``LoadCredential=``), read from $CREDENTIALS_DIRECTORY.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    file: str | None = None
    env: str | None = None
    credential: str | None = None

    def __post_init__(self) -> None:
        """Exactly one place."""
        if sum(place is not None for place in (self.file, self.env, self.credential)) != 1:
            raise ValueError("name exactly one of: file, env, credential")
