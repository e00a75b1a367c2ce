"""The seed of a test that draws its course: given, or anew each time; in CI from what the checkout contains.

In CI the same sources take the same course, so that a failure is of what was changed and comes again; a change takes
another one. (The moments at which the course meets a process do not repeat.)
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("gateway", "drivers", "buffer", "config", "simulators", "tests")
SEEDS = 10**6


def draw(variable, root=ROOT):
    """A seed from 1 on, as the environment variable says if it is set."""
    given = os.environ.get(variable)
    if given:
        return int(given)
    return of_sources(root) if os.environ.get("CI") else random.SystemRandom().randrange(1, SEEDS)


@functools.cache
def of_sources(root):
    """A seed that any change of a Python file or a migration changes."""
    digest = hashlib.sha256()
    for path in sorted(path for room in SOURCES for end in ("py", "sql") for path in (root / room).rglob(f"*.{end}")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return int.from_bytes(digest.digest()[:8]) % (SEEDS - 1) + 1
