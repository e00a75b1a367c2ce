"""Fetches the secrets that settings name, at the moment they are needed.

Nothing here keeps, prints or logs a secret's text; errors name the place of a secret, never its content.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from config.errors import ConfigError, Place
from gateway.core.secret import SecretRef

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET_BYTES_MAX: Final = 64 * 1024
CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
OTHERS_MAY_READ: Final = stat.S_IRWXG | stat.S_IRWXO


def resolve_secret(ref: SecretRef, base_dir: Path, env: Mapping[str, str], path: str = "") -> str:
    """The text of a secret. Relative files start at ``base_dir``; ``path`` is the setting, for the error.

    Raises ConfigError: not there, empty, not UTF-8, or a file that others than its owner may read.
    """
    if ref.env is not None:
        place = Place(f"environment: {ref.env}")
        text = env.get(ref.env, "")
        if not text:
            raise ConfigError(place, path, "the variable is not set; set it for the service, or name a file")
        return text
    if ref.credential is not None:
        return _of_credential(ref.credential, env, path)
    return _of_file(base_dir / str(ref.file), path, owner_only=True)


def secret_refs(settings: Any) -> Iterator[tuple[str, SecretRef]]:
    """Every secret that a settings object names, with its dotted path inside that object."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, SecretRef):
            yield field.name, value
        elif dataclasses.is_dataclass(value):
            yield from ((f"{field.name}.{path}", ref) for path, ref in secret_refs(value))
        elif isinstance(value, dict):
            for key, item in value.items():
                if isinstance(item, SecretRef):
                    yield f"{field.name}.{key}", item
                elif dataclasses.is_dataclass(item):
                    yield from ((f"{field.name}.{key}.{path}", ref) for path, ref in secret_refs(item))


@dataclasses.dataclass(frozen=True, slots=True)
class SecretStore:
    """Resolves secrets against one folder and one environment; holds no secret itself.

    Attributes:
        base_dir: where relative files start.
        env: environment variables (never printed).
    """

    base_dir: Path
    env: Mapping[str, str] = dataclasses.field(repr=False)

    def resolve(self, ref: SecretRef, path: str = "") -> str:
        """The text of one secret. Raises ConfigError."""
        return resolve_secret(ref, self.base_dir, self.env, path)

    def resolve_all(self, settings: Any, path: str = "") -> dict[str, str]:
        """Every secret of a settings object, by dotted path inside it (``token``). Raises ConfigError."""
        prefix = f"{path}." if path else ""
        return {name: self.resolve(ref, prefix + name) for name, ref in secret_refs(settings)}


def _of_credential(name: str, env: Mapping[str, str], path: str) -> str:
    folder = env.get(CREDENTIALS_VARIABLE, "")
    if name in {"", ".", ".."} or "/" in name:
        raise ConfigError(Place("credential"), path, f"found {name!r}, allowed: a name without '/'")
    if not folder:
        place = Place(f"environment: {CREDENTIALS_VARIABLE}")
        text = f"the variable is not set; start the gateway by systemd with LoadCredential={name}:FILE"
        raise ConfigError(place, path, text)
    # systemd guards its credentials by an access list, which shows as group bits: the mode says nothing here.
    return _of_file(Path(folder) / name, path, owner_only=False)


def _of_file(file: Path, path: str, *, owner_only: bool) -> str:
    place = Place(str(file))
    try:
        # Not blocking: a pipe with nobody at its other end must not stop the start.
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:  # noqa: PTH123 - flags
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(place, path, "is not a file; name a file that holds only the secret")
            if owner_only and status.st_mode & OTHERS_MAY_READ:
                mode = stat.S_IMODE(status.st_mode)
                text = f"others may read this secret (mode {mode:04o}); run: chmod 600 {file}"
                raise ConfigError(place, path, text)
            content = opened.read(SECRET_BYTES_MAX + 1)
    except (OSError, ValueError) as failure:
        reason = getattr(failure, "strerror", None) or "not a path"
        raise ConfigError(place, path, f"the secret cannot be read: {reason}; check path and owner") from None
    return _text_of(content, place, path)


def _text_of(content: bytes, place: Place, path: str) -> str:
    if len(content) > SECRET_BYTES_MAX:
        raise ConfigError(place, path, f"larger than the allowed {SECRET_BYTES_MAX // 1024} KiB; is it the secret?")
    text = _decoded(content)
    if text is None:
        raise ConfigError(place, path, "the secret is not UTF-8 text; save it as UTF-8")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ConfigError(place, path, "the secret is empty; write it into the file")
    return text


def _decoded(content: bytes) -> str | None:
    # Not an exception: a UnicodeDecodeError carries all the bytes along, even as a suppressed context.
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None
