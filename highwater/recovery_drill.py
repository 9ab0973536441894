"""A drill of the recovery: what was recorded since a moment was never recorded, while the sources went on."""

from __future__ import annotations

from datetime import datetime

from psycopg2 import sql

from highwater import alerts, batch_simulation, clock, warehouse
from highwater.recovery import CRITICAL, NON_CRITICAL


def simulate(since: datetime) -> int:
    """Take every window of payments and page views that ends after ``since`` out of the record; returns their number.

    As the admin: nobody else may undo what landed. The sources make what they would have made meanwhile, and incidents
    are looked for at once, so that the outage is found and told.
    """
    batch_simulation.advance(clock.now())
    forgotten = 0
    with warehouse.session("postgres") as cursor:
        for dataset in (CRITICAL, NON_CRITICAL):
            warehouse.run_file(cursor, "ops/partitions_landed_since.sql", {"dataset": dataset, "since": since})
            for row in warehouse.fetch_all(cursor):
                name = sql.Identifier(*row.partition_name.split("."))
                cursor.execute(sql.SQL("DROP TABLE {}").format(name))
                for table in ("quarantine.rejected_rows", "ops.window_ledger"):
                    cursor.execute(
                        sql.SQL("DELETE FROM {} WHERE dataset = %s AND window_range = %s").format(
                            sql.Identifier(*table.split("."))
                        ),
                        (dataset, row.window_range),
                    )
                forgotten += 1
    alerts.look()
    return forgotten
