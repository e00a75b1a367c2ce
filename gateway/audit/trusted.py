"""Which certificates of servers are trusted, as values beside the settings in the audit trail. Trusts nothing.

They lie in the state directory, one file for each source (``drivers/opcua/certificates.py``), and change while the
gateway runs and while it does not.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

#: Below the state directory.
FOLDER: Final = "opcua/trusted"
SUFFIX: Final = ".der"
#: As large as a certificate may be.
BYTES_MAX: Final = 64 * 1024


def trusted(state_dir: Path) -> dict[str, str]:
    """SHA-256 of the trusted certificate of each source, by ``sources.NAME.trusted_certificate``."""
    found = {}
    for file in sorted((state_dir / FOLDER).glob(f"*{SUFFIX}")):
        try:
            with file.open("rb") as opened:
                said = hashlib.sha256(opened.read(BYTES_MAX)).hexdigest()
        except OSError as error:
            said = f"cannot be read: {error.strerror}"
        found[f"sources.{file.stem}.trusted_certificate"] = said
    return found
