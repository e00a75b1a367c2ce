"""The image of the order that a job order belongs to: joined to it, taken off it, and made up where there is none.

Reads no document and decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.orders.order_image import ImageOperation, OrderImage, digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.model import JobOrder, ProductionOrder


def image_of(order: ProductionOrder, source: str) -> OrderImage:
    """The whole order as this connector released it; made of the few fields that are known where it read no more."""
    if order.image is not None:
        return order.image._replace(source=source)
    operations = tuple(
        ImageOperation(
            operation=one.operation,
            work_center=one.work_center,
            quantity=one.quantity,
            sequence=one.sequence,
            text=one.text,
            std_cycle_ns=one.std_cycle_ns,
        )
        for one in order.operations
    )
    return OrderImage(
        source=source,
        order=order.order,
        revision=order.revision,
        product=order.product,
        uom=order.uom,
        quantity=order.quantity,
        operations=operations,
        product_revision=order.product_revision,
        planned_start_ns=order.planned_start_ns,
        planned_end_ns=order.planned_end_ns,
        priority=order.priority,
        sequence_no=order.sequence_no,
        cancelled=order.cancelled,
        echo=tuple(sorted(order.echo.items())),
    )


def with_image(job: JobOrder, image: OrderImage) -> JobOrder:
    """The job order with its order's image."""
    return job._replace(image=image, image_digest=digest_of(image))


def with_known_image(job: JobOrder, images: Mapping[str, OrderImage]) -> JobOrder:
    """The job order with its image, where it is among these (by digest)."""
    return job._replace(image=images[job.image_digest]) if job.image_digest in images else job


def work_of(job: JobOrder) -> ImageOperation | None:
    """All that the order says of this operation; None where nobody told."""
    return None if job.image is None else job.image.operation(job.operation)


def tool_of(job: JobOrder) -> str:
    """The tool that the operation asks for, "" for none."""
    work = work_of(job)
    return "" if work is None else work.tool


def recipe_of(job: JobOrder) -> str:
    """The recipe that the operation asks for, "" for none."""
    work = work_of(job)
    return "" if work is None else work.recipe


def planned_setup_ns(job: JobOrder) -> int | None:
    """How long the setup of the operation is meant to take; None where nobody told."""
    work = work_of(job)
    return None if work is None else work.std_setup_ns


def comparable(held: JobOrder, new: JobOrder) -> tuple[OrderImage, OrderImage]:
    """Two images that can be compared: the whole ones, or where either is missing as much as both job orders say."""
    if held.image is not None and new.image is not None:
        return held.image, new.image
    return _of_job(held), _of_job(new)


def _of_job(job: JobOrder) -> OrderImage:
    operation = ImageOperation(
        operation=job.operation,
        work_center=job.work_center,
        quantity=job.quantity,
        sequence=job.sequence,
        std_cycle_ns=job.std_cycle_ns,
    )
    return OrderImage(
        source=job.source,
        order=job.order,
        revision=job.revision,
        product=job.product,
        uom=job.uom,
        quantity=job.quantity,
        operations=(operation,),
        product_revision=job.product_revision,
        planned_start_ns=job.planned_start_ns,
        planned_end_ns=job.planned_end_ns,
        sequence_no=job.sequence_no,
        cancelled=job.cancelled,
        echo=job.echo,
    )
