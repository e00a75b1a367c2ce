"""Which ERP hears what: answers to its orders, of which operations together, notices; and orders that nobody confirms.

Sends and stores nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.settings import Settings
    from gateway.core.model import JobOrder
    from gateway.core.orders.erp_notice import NoticeType
    from gateway.parts import Parts


def hears_answers(parts: Parts, name: str) -> bool:
    """Whether a connector takes answers to its orders."""
    connector = parts.connectors.get(name)
    return name in parts.forwarders and connector is not None and connector.capabilities.acknowledgements


def hearers(parts: Parts, what: NoticeType, among: Sequence[str] | None = None) -> tuple[str, ...]:
    """The connectors that are told notices of this type, of all that take confirmations or of ``among``."""
    found = parts.forwarders if among is None else [name for name in among if name in parts.forwarders]
    connectors = {name: parts.connectors.get(name) for name in found}
    return tuple(name for name, one in connectors.items() if one is not None and what in one.capabilities.notices)


def listened(parts: Parts) -> bool:
    """Whether any connector is told notices: asked in every step, so it looks at no more than it must."""
    connectors = parts.connectors
    return any(name in parts.forwarders and one.capabilities.notices for name, one in connectors.items())


def answers_with(parts: Parts, job: JobOrder) -> tuple[str, ...] | None:
    """The operations of its order that are made at this gateway, and this one wherever it is made.

    One that its order was sent without answers only where no other does. None: the order's connector takes no answers.
    """
    if not hears_answers(parts, job.source):
        return None
    here = {runner.unit.identity.work_center for runner in parts.runners.values()}
    operations = () if job.image is None else job.image.operations
    found = [one.operation for one in operations if one.work_center in here or one.operation == job.operation]
    return tuple(found) or (job.operation,)


def orders_without_target(settings: Settings, parts: Parts) -> list[str]:
    """A warning for each feed whose orders' confirmations have no place to go."""
    forwarders = parts.forwarders
    units = [name for name, rules in settings.work_units.items() if not rules.confirm.also_to]
    return [
        f"orders come from connector {name}, which takes no confirmations, and nothing says which of "
        f"{', '.join(forwarders)} gets them: they will wait; set confirm.also_to of {', '.join(units)}"
        for name in parts.feeds
        if name not in forwarders and len(forwarders) > 1 and units
    ]
