"""How long records are kept: the section ``retention``, or its older names in ``buffer``. Deletes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.core.rules_confirming import AGE_MIN, RetentionRule

if TYPE_CHECKING:
    from config.settings import BufferSettings


def ages(rule: RetentionRule | None, buffer: BufferSettings) -> RetentionRule:
    """The ages that hold. An old name speaks for several of them; less than a day counts as one."""
    if rule is not None:
        return rule
    kept = RetentionRule()
    if buffer.journal_keep is not None:
        age = max(buffer.journal_keep, AGE_MIN)
        kept = replace(kept, raw_journal=age, cycles=age, states=age, notices=age)
    if buffer.posted_keep is not None:
        age = max(buffer.posted_keep, AGE_MIN)
        kept = replace(kept, orders=age, confirmations=age)
    return kept
