"""Which ERP hears what of its orders: answers to them, of which operations together, and orders that nobody confirms.

Sends and stores nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.settings import Settings
    from gateway.core.model import JobOrder
    from gateway.parts import Parts


def answers_with(parts: Parts, job: JobOrder) -> tuple[str, ...] | None:
    """The operations of its order that are made at this gateway, and this one wherever it is made.

    None: the order's connector takes no answers.
    """
    connector = parts.connectors.get(job.source)
    if job.source not in parts.forwarders or connector is None or not connector.capabilities.acknowledgements:
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
