"""What is said where a machine is to be asked to stop, because the target of its order is reached. Plain data."""

from __future__ import annotations

from typing import NamedTuple


class StopRequested(NamedTuple):
    """The target of an order is reached: the machine is to be asked to stop, by writing a signal. Said once."""

    at_ns: int
    order: str
    operation: str
    signal: str
    value: str
