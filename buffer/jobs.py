"""Job records as bytes in the database: exact (quantities as decimal text), readable by a person (JSON)."""

from __future__ import annotations

from decimal import Decimal

import orjson

from gateway.core.model import JobOrder, JobOrderState, JobRecord


def encode(record: JobRecord) -> bytes:
    """The record as JSON."""
    job = record.job._asdict()
    job["quantity"] = str(record.job.quantity)
    return orjson.dumps({**record._asdict(), "job": job})


def decode(stored: bytes) -> JobRecord:
    """The record of these bytes. Raises ValueError, KeyError or TypeError if ``encode`` did not write them."""
    fields = orjson.loads(stored)
    job = fields.pop("job")
    job["quantity"] = Decimal(job["quantity"])
    job["echo"] = tuple((name, text) for name, text in job["echo"])
    return JobRecord(**{**fields, "state": JobOrderState(fields["state"])}, job=JobOrder(**job))
