"""What the catalogue says after a month has landed, was loaded again, rolled back and verified."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from attacks import act
from loading import DATASET, change_set, day, run, stage
from typer.testing import CliRunner

from highwater.cli.main import app
from highwater.store import publish, rollback

FIRST = date(2026, 10, 1)
DAYS = [day(str(FIRST + timedelta(days=n))) for n in range(30)]

PARTITIONS = """
    SELECT
        c.oid::regclass::text AS name, c.relowner::regrole::text AS owner, c.relpersistence AS persistence,
        (SELECT array_agg(r.grantee::text) FROM aclexplode(c.relacl) AS r WHERE r.grantee <> c.relowner) AS acl,
        c.reloptions AS options, c.relrowsecurity OR c.relforcerowsecurity AS has_row_security,
        c.relhasrules AS has_rules, c.relreplident AS identity, c.reltablespace, a.amname AS method,
        (SELECT array_agg(t.tgname) FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) AS triggers,
        (SELECT array_agg(p.polname) FROM pg_policy AS p WHERE p.polrelid = c.oid) AS policies,
        (SELECT array_agg(s.stxname) FROM pg_statistic_ext AS s WHERE s.stxrelid = c.oid) AS statistics,
        (
            SELECT array_agg(x.attname) FROM pg_attribute AS x WHERE x.attrelid = c.oid AND x.attacl IS NOT NULL
        ) AS column_acls,
        (
            SELECT array_agg(pg_describe_object(d.classid, d.objid, d.objsubid))
            FROM pg_depend AS d
            WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND NOT (
                (d.classid = 'pg_class'::regclass AND d.objid IN (
                    SELECT i.indexrelid FROM pg_index AS i WHERE i.indrelid = c.oid UNION SELECT c.reltoastrelid
                ))
                OR (d.classid = 'pg_type'::regclass AND d.objid = c.reltype)
                OR (d.classid = 'pg_constraint'::regclass AND d.objid IN (
                    SELECT k.oid FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'c', 'n')
                ))
                OR (d.classid = 'pg_attrdef'::regclass AND d.objid IN (
                    SELECT f.oid FROM pg_attrdef AS f WHERE f.adrelid = c.oid
                ))
            )
        ) AS dependants,
        (
            SELECT array_agg(i.indexrelid::regclass::text) FROM pg_index AS i
            INNER JOIN pg_class AS x ON x.oid = i.indexrelid
            WHERE i.indrelid = c.oid AND (NOT i.indisvalid OR x.relowner <> c.relowner OR x.reloptions IS NOT NULL)
        ) AS strange_indexes
    FROM pg_class AS c LEFT JOIN pg_am AS a ON a.oid = c.relam
    WHERE c.relispartition AND c.relkind = 'r' AND c.relnamespace = 'sales'::regnamespace
"""
OURS = {
    "owner": "publisher", "persistence": "p", "acl": None, "options": None, "has_row_security": False,
    "has_rules": False, "identity": "d", "reltablespace": 0, "method": "heap", "triggers": None, "policies": None,
    "statistics": None, "column_acls": None, "dependants": None, "strange_indexes": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def month(emptied_once: None) -> None:
    """Thirty days have landed; some were loaded again with the same content, some with other, one was rolled back."""
    for window in DAYS:
        publish.publish_window(DATASET, window, stage(window), run())
    for number, window in enumerate(DAYS[::5]):
        again = stage(window)
        if number % 2:
            change_set(again, "SET quantity = quantity + 1, revenue = revenue + unit_price")
        publish.publish_window(DATASET, window, again, run("b"))
    rollback.carry_out(rollback.plan(DATASET, "2026-10-06"), "ada", "why")
    rollback.prune()


@pytest.mark.usefixtures("month")
class TestAfterAMonth:
    def test_every_partition_is_the_publishers_alone(self) -> None:
        found = act("postgres", PARTITIONS)
        assert len(found) == len(DAYS)
        for partition in found:
            said = partition._asdict()
            assert said == {"name": said["name"]} | OURS

    def test_every_partition_is_of_a_landed_window_and_each_window_has_one(self) -> None:
        bounds = (
            "SELECT DISTINCT pg_get_expr(c.relpartbound, c.oid) AS bounds FROM pg_class AS c"
            " WHERE c.relispartition AND c.relkind = 'r' AND c.relnamespace = 'sales'::regnamespace"
        )
        assert len(act("postgres", bounds)) == len(DAYS)
        assert act("postgres", "SELECT ops.unaccounted_partitions('daily_sales')") == []
        held = "SELECT count(DISTINCT ops.partition_of('sales.daily_sales', window_range)) FROM ops.window_ledger"
        assert act("postgres", held) == [(len(DAYS),)]

    def test_nothing_in_the_warehouse_belongs_to_who_loads_reads_or_decides(self) -> None:
        owned = """
            SELECT pg_describe_object(s.classid, s.objid, s.objsubid), s.refobjid::regrole::text
            FROM pg_shdepend AS s
            WHERE s.deptype = 'o' AND s.refclassid = 'pg_authid'::regclass
                AND s.refobjid::regrole::text = ANY ('{loader,analyst,operator}')
        """
        assert act("postgres", owned) == []

    def test_no_function_runs_with_its_owners_rights_and_an_open_path(self) -> None:
        open_path = """
            SELECT p.oid::regprocedure::text FROM pg_proc AS p
            WHERE p.prosecdef AND p.pronamespace <> 'pg_catalog'::regnamespace
                AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), FALSE)
        """
        assert act("postgres", open_path) == []

    def test_what_is_verified_differs_nowhere(self) -> None:
        answer = CliRunner().invoke(app, ["verify", DATASET])
        assert answer.exit_code == 0, answer.stdout
