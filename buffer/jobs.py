"""Job records and images of orders as bytes in the database: exact (decimals as text), readable by a person (JSON).

A record holds the digest of its order's image, never the image: operations and revisions share it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

import orjson

from gateway.core.model import JobOrder, JobOrderState, JobRecord
from gateway.core.orders import order_image

if TYPE_CHECKING:
    from gateway.core.orders.order_image import OrderImage

PUT: Final = """
    INSERT INTO job (order_id, operation, record, seq, state, image_digest, changed_ns)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (order_id, operation) DO UPDATE SET record = excluded.record, seq = excluded.seq,
        state = excluded.state, image_digest = excluded.image_digest, changed_ns = excluded.changed_ns
"""
#: Names that were given once are never given again, also where the order is forgotten.
LIKE: Final = """
    SELECT order_id FROM job WHERE substr(order_id, 1, ?1) = ?2
    UNION SELECT order_id FROM job_number WHERE substr(order_id, 1, ?1) = ?2
"""
LEFT: Final = "SELECT seq, last_hash, revision FROM job_number WHERE order_id = ? AND operation = ?"


def row(record: JobRecord, changed_ns: int) -> tuple[object, ...]:
    """The values of ``PUT``. Raises TypeError where the record cannot be written."""
    job = record.job
    return (job.order, job.operation, encode(record), record.seq, record.state.value, job.image_digest, changed_ns)


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
    fields["external"] = tuple(fields.get("external", (0, 0, 0)))
    return JobRecord(**{**fields, **states}, job=JobOrder(**job))


def encode_image(image: OrderImage) -> bytes:
    """The image as JSON."""
    return orjson.dumps(order_image.encode(image))


def decode_image(stored: bytes) -> OrderImage:
    """The image of these bytes. Raises ValueError, KeyError or TypeError if ``encode_image`` did not write them."""
    return order_image.decode(orjson.loads(stored))
