"""Who decides on this command line: the name that is stored beside a decision. It grants nothing."""

from __future__ import annotations

import getpass
import os


def name() -> str:
    """The login name, or the user id where this machine has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # which of the two depends on the Python
        return f"uid {os.getuid()}"
