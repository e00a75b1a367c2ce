"""What each channel was told, in a small file of the state directory: a restart tells nothing a second time.

It stands beside the database and not in it: that the database cannot be written is what people must hear of. A file
that cannot be read is as good as none: what is open is then told once more.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

from gateway.alerts.digest import Known, from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE_NAME: Final = "alerts.json"
FILE_MODE: Final = 0o600
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
VERSION: Final = 1


class ToldFileError(Exception):
    """The file cannot be used; names it and says why."""


def load(state_dir: Path) -> dict[str, Known]:
    """What each channel knows, by its name; nothing where there is no file. Raises ToldFileError."""
    path = state_dir / FILE_NAME
    try:
        with path.open("rb") as file:
            document: Any = json.loads(file.read(FILE_BYTES_MAX + 1))
        if document["v"] != VERSION:
            raise ToldFileError(f"{path}: version: found {document['v']!r}, allowed {VERSION}")
        return {str(name): from_json(known) for name, known in document["channels"].items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ToldFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ToldFileError(f"{path}: is not what this program wrote ({type(error).__name__})") from error


def save(state_dir: Path, known: Mapping[str, Known]) -> None:
    """Replace the file at once: a power cut leaves the old one or the new one. Raises ToldFileError."""
    path = state_dir / FILE_NAME
    new = path.with_name(f"{FILE_NAME}.new")
    document = {"v": VERSION, "channels": {name: to_json(one) for name, one in known.items()}}
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE), "wb") as file:  # noqa: PTH123 - mode
            file.write(json.dumps(document, separators=(",", ":")).encode())
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise ToldFileError(f"{path}: cannot be written: {error.strerror}") from error
