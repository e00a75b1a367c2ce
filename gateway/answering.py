"""Whether an ERP hears what became of its orders, and of which operations together. Sends and stores nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
