"""Images of orders in the database: each once, found again with every record that names it, and older files."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from decimal import Decimal

from buffer import jobs, schema
from gateway.core.model import JobOrderState
from gateway.core.orders.job_image import with_image
from gateway.core.orders.order_image import Component, ImageOperation, OrderImage

TEN = Decimal(10)
IMAGE = OrderImage(
    "erp", "100240", 1, "ASSY-D20", "PC", TEN,
    (ImageOperation("0010", "WC-ASM", TEN), ImageOperation("0020", "WC-PCK", TEN)),
    components=(Component("PA66", Decimal("1.20"), "G"),), over_tolerance=Decimal("2.50"), documents=("D-1",),
)  # fmt: skip


def record(make, operation, image=IMAGE, **changes):
    made = make.record(operation=operation)
    return made._replace(job=with_image(made.job, image), **changes)


def images(store):
    with contextlib.closing(sqlite3.connect(store.path)) as link:
        return link.execute("SELECT digest, document FROM order_image").fetchall()


async def test_an_image_is_kept_once_and_comes_back_with_every_record(open_store, make):
    store = await open_store()
    first, second = record(make, "0010"), record(make, "0020", state=JobOrderState.ON_HOLD)
    second = second._replace(held_from=JobOrderState.INTERRUPTED, hold_reason="crack")
    await store.commit(make.step(seq=1, jobs=[first, second]))
    await store.commit(make.step(seq=2, jobs=[first]))
    assert [digest for digest, _ in images(store)] == [first.job.image_digest]
    await store.close()

    again = await open_store()
    assert await again.job_record("100240", "0010") == first
    assert await again.records_of("100240") == [first, second]
    assert await again.records_of("1") == []
    assert (await again.records_of("100240"))[0].job.image.components[0].quantity.as_tuple() == Decimal(
        "1.20"
    ).as_tuple()
    assert [one.job.image for one in await again.job_records()] == [None, None], "the list is without them"
    changed = record(make, "0010", IMAGE._replace(revision=2))
    await again.commit(make.step(seq=3, jobs=[changed]))
    assert len(images(again)) == 2
    assert [one.job.image.revision for one in await again.records_of("100240")] == [2, 1]
    await again.close()


async def test_a_database_and_its_records_from_before_are_read(open_store, make, tmp_path):
    store = await open_store()
    path = store.path
    await store.close()
    path.unlink()
    old = json.loads(jobs.encode(make.record()))
    for name in ("held_from", "hold_reason"):
        del old[name]
    del old["job"]["image_digest"]
    with contextlib.closing(sqlite3.connect(path)) as link, link:
        for number, script in schema.migrations():
            if number < 5:
                link.executescript(script)
        link.execute("PRAGMA user_version=4")
        link.execute("INSERT INTO job VALUES ('100240', '0010', ?)", (json.dumps(old).encode(),))
    again = await open_store()
    assert await again.job_record("100240", "0010") == make.record()
    await again.close()
