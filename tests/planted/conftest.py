"""Lets the tests find planted bugs, the model of the outbox, a target in steps, and the file system that forgets."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).parent
sys.path.append(str(_HERE))
sys.path.append(str(_HERE.parent / "buffer"))
sys.path.append(str(_HERE.parent / "connectors"))
sys.path.append(str(_HERE.parent / "system" / "faults"))
