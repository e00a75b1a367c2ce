"""Job records and images of orders as bytes in the database: exact (decimals as text), readable by a person (JSON).

A record holds the digest of its order's image, never the image: operations and revisions share it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import orjson

from gateway.core.model import JobOrder, JobOrderState, JobRecord
from gateway.core.orders import order_image

if TYPE_CHECKING:
    from gateway.core.orders.order_image import OrderImage


def encode(record: JobRecord) -> bytes:
    """The record as JSON."""
    job = record.job._asdict()
    del job["image"]
    job["quantity"] = str(record.job.quantity)
    return orjson.dumps({**record._asdict(), "job": job})


def decode(stored: bytes) -> JobRecord:
    """The record of these bytes. Raises ValueError, KeyError or TypeError if ``encode`` did not write them."""
    fields = orjson.loads(stored)
    job = fields.pop("job")
    job["quantity"] = Decimal(job["quantity"])
    job["echo"] = tuple((name, text) for name, text in job["echo"])
    job["leads"] = tuple(job.get("leads", ()))
    held_from = fields.get("held_from")
    states = {
        "state": JobOrderState(fields["state"]),
        "held_from": None if held_from is None else JobOrderState(held_from),
    }
    return JobRecord(**{**fields, **states}, job=JobOrder(**job))


def encode_image(image: OrderImage) -> bytes:
    """The image as JSON."""
    return orjson.dumps(order_image.encode(image))


def decode_image(stored: bytes) -> OrderImage:
    """The image of these bytes. Raises ValueError, KeyError or TypeError if ``encode_image`` did not write them."""
    return order_image.decode(orjson.loads(stored))
