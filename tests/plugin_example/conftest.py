"""Lets the tests of this distribution run from linegate's own tree too, where it is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
