"""Lets the tests find the modules of the simulated week, which stand beside them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
