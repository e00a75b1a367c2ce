"""Makes text from outside (an ERP, a file, a device) safe to store, to log and to show on a terminal.

It does not judge whether the text is right, and it is not for identifiers: those are refused, not changed.
"""

from __future__ import annotations

import re
from typing import Final

CUT_MARK: Final = "\u2026"
REPLACEMENT: Final = "\ufffd"

#: Halves of a UTF-16 pair: JSON can name them, UTF-8 and therefore SQLite cannot carry them.
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
#: C0, DEL and C1 steer terminals; line and paragraph separators forge log lines; direction marks reorder what is shown.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def clean(text: str, limit: int = 500) -> str:
    """The text in one line that can be stored and shown.

    Surrogates become U+FFFD; control characters, line ends and direction marks become a space each. At most ``limit``
    characters (0 or more): a longer text ends with an ellipsis within the limit.
    """
    kept = text if len(text) <= limit else text[: max(limit - 1, 0)] + CUT_MARK[:limit]
    return _CONTROLS.sub(" ", _SURROGATES.sub(REPLACEMENT, kept))


def is_clean(text: str) -> bool:
    """Whether ``clean`` would leave every character as it is."""
    return _SURROGATES.search(text) is None and _CONTROLS.search(text) is None
