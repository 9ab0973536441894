"""No start and no session that Highwater opens does what another user has set: in a role, a database or around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from attacks import LOGINS, act, home_of, powers, refused, start
from psycopg2 import sql

from highwater.environment import credentials, settings
from highwater.model.errors import ConfigurationError
from highwater.setup import bootstrap, roles
from highwater.store import warehouse
from simulation import extension

pytestmark = pytest.mark.usefixtures("platform")

ESCALATE = """
BEGIN
    BEGIN
        RESET ROLE;
        RESET SESSION AUTHORIZATION;
        IF (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user) THEN
            ALTER ROLE {} SUPERUSER;
        END IF;
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    RETURN {};
END
"""
"""What an attacker leaves behind to be run by an admin: it gives up its role, and makes the attacker one."""

EVIL = """
CREATE SCHEMA evil;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE FUNCTION evil.hashtext(text) RETURNS integer LANGUAGE plpgsql AS $f$ {one} $f$;
CREATE FUNCTION evil.format(text, name, text) RETURNS text LANGUAGE plpgsql AS $f$ {one} $f$;
CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE plpgsql AS $f$ {yes} $f$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same);
CREATE OPERATOR evil.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same);
"""


def evil(role: str) -> str:
    """Functions and operators of the names that a start uses."""
    return EVIL.format(one=ESCALATE.format(role, 1), yes=ESCALATE.format(role, "TRUE"))


@pytest.fixture
def cleaned() -> Iterator[None]:
    """What an attack left is gone, also where it has worked."""
    yield
    config = settings.get()
    with warehouse.session("postgres", "postgres") as cursor:
        for role in ("simulator", "loader", "publisher", "analyst"):
            cursor.execute(sql.SQL("ALTER ROLE {} NOSUPERUSER").format(sql.Identifier(role)))
        for name in (config.warehouse_database, config.sources_database):
            cursor.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(name)))
    for name in (config.warehouse_database, config.sources_database):
        act("postgres", "DROP SCHEMA IF EXISTS evil CASCADE", database=name)


class TestStart:
    @pytest.mark.parametrize(("role", "member"), [("simulator", "simulator"), ("publisher", "loader")])
    def test_a_former_owner_of_a_database_gains_nothing(self, role: str, member: str, cleaned: None) -> None:
        """As an installation of before may be when it is upgraded: the owner has set what all sessions begin with."""
        config = settings.get()
        name = config.sources_database if role == "simulator" else config.warehouse_database
        act("postgres", f"ALTER DATABASE {name} OWNER TO {role}", database=name)
        act("postgres", f"SET ROLE {role}; {evil(member)}", database=name)
        act("postgres", f"SET ROLE {role}; ALTER DATABASE {name} SET search_path = evil, pg_catalog", database=name)
        act("postgres", f"ALTER ROLE postgres IN DATABASE {name} SET search_path = evil, pg_catalog", database=name)
        try:
            start()
        finally:
            act("postgres", f"ALTER ROLE postgres IN DATABASE {name} RESET ALL", database=name)
        assert powers() == []
        owner = "SELECT datdba::regrole::text, (SELECT count(*) FROM pg_db_role_setting WHERE setdatabase = d.oid)"
        assert act("postgres", f"{owner} FROM pg_database AS d WHERE datname = %s", (name,)) == [("postgres", 0)]

    def test_a_trigger_of_the_simulator_runs_in_no_session_of_the_admin(self, cleaned: None) -> None:
        act("simulator", f"CREATE SCHEMA evil; CREATE FUNCTION evil.act() RETURNS trigger LANGUAGE plpgsql AS $f$"
                         f" {ESCALATE.format('simulator', 'NULL')} $f$")  # fmt: skip
        tables = act(
            "simulator",
            "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relowner = 'simulator'::regrole",
        )
        assert tables
        for table in tables:
            act("simulator", f"CREATE TRIGGER evil BEFORE INSERT OR UPDATE ON {table.name}"
                             " FOR EACH STATEMENT EXECUTE FUNCTION evil.act()")  # fmt: skip
        start()
        assert powers() == []

    def test_a_trigger_of_the_publisher_runs_in_no_session_of_the_admin(self, cleaned: None) -> None:
        act("postgres", f"SET ROLE publisher; CREATE SCHEMA evil; CREATE FUNCTION evil.act() RETURNS trigger"
                        f" LANGUAGE plpgsql AS $f$ {ESCALATE.format('loader', 'NULL')} $f$")  # fmt: skip
        for table in ("control.platform", "control.datasets", "control.known_sources", "ops.turns"):
            act("postgres", f"SET ROLE publisher; CREATE TRIGGER evil AFTER INSERT OR UPDATE ON {table}"
                            " FOR EACH STATEMENT EXECUTE FUNCTION evil.act()")  # fmt: skip
            act("postgres", f"SET ROLE publisher; CREATE CONSTRAINT TRIGGER later AFTER INSERT OR UPDATE ON {table}"
                            " INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION evil.act()")  # fmt: skip
        act("postgres", "UPDATE control.platform SET keep_versions_days = 1")
        start()
        assert powers() == []

    def test_a_schema_of_another_user_where_the_admin_keeps_things_is_refused(self) -> None:
        act("postgres", "ALTER SCHEMA setup OWNER TO publisher")
        try:
            with pytest.raises(
                ConfigurationError, match="schema 'setup' in database 'warehouse' belongs to 'publisher'"
            ):
                start()
        finally:
            act("postgres", "ALTER SCHEMA setup OWNER TO postgres")

    @pytest.mark.parametrize("role", ["analyst", "loader"])
    def test_nobody_holds_a_start_up(self, role: str) -> None:
        with closing(warehouse.connect(role)) as link, link.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(hashtext('highwater bootstrap'))")
            start()

    def test_powers_memberships_and_logins_that_should_not_be_are_taken_back(self) -> None:
        act("postgres", "ALTER ROLE analyst CREATEROLE; ALTER ROLE web_reader SUPERUSER")
        act("postgres", "GRANT publisher TO analyst; GRANT simulator TO legacy_reader; GRANT operator TO shop_reader")
        act("postgres", "ALTER ROLE publisher LOGIN PASSWORD 'known'; ALTER ROLE analyst CONNECTION LIMIT -1")
        start()
        assert powers() == []
        members()
        assert act("postgres", "SELECT rolcanlogin, rolpassword FROM pg_authid WHERE rolname = 'publisher'") == [
            (False, None)
        ]
        assert act("postgres", "SELECT rolconnlimit > 0 FROM pg_roles WHERE rolname = 'analyst'") == [(True,)]


def members() -> None:
    """Nobody who logs in is a member of the publisher, or of another login but the operator of the analyst."""
    found = act(
        "postgres",
        "SELECT roleid::regrole::text AS role, member::regrole::text AS member FROM pg_auth_members"
        " WHERE member <> 'postgres'::regrole AND member::regrole::text !~ '^pg_'",
    )
    assert {(row.role, row.member) for row in found} <= roles.MEMBERSHIPS
    assert all(row.role != "publisher" for row in found)


def test_no_login_is_a_member_of_another_but_the_operator_of_the_analyst() -> None:
    members()


def test_no_role_that_runs_tasks_owns_a_database() -> None:
    owners = act(
        "postgres", "SELECT datname, datdba::regrole::text FROM pg_database WHERE datdba <> 'postgres'::regrole"
    )
    assert owners == [(settings.get().metadata_database, "airflow")]


SETTINGS = {
    "statement_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "transaction_timeout": "1ms",
    "search_path": "pg_temp, public",
    "TimeZone": "Asia/Tokyo",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "client_encoding": "LATIN1",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "row_security": "off",
    "local_preload_libraries": "nowhere",
    "role": "analyst",
    "exit_on_error": "on",
    "restrict_nonsystem_relation_kind": "view",
    "quote_all_identifiers": "on",
    "client_min_messages": "error",
    "temp_buffers": "64MB",
    "enable_hashjoin": "off",
    "enable_partition_pruning": "off",
    "synchronous_commit": "off",
    "default_tablespace": "nowhere",
}


@pytest.mark.parametrize("role", LOGINS)
def test_what_a_role_sets_for_itself_reaches_no_session_and_is_gone_after_a_start(role: str) -> None:
    with closing(warehouse.connect(role, home_of(role))) as link, link, link.cursor() as cursor:
        usual = {}
        for name in SETTINGS:
            cursor.execute(sql.SQL("SHOW {}").format(sql.Identifier(name)))
            usual[name] = cursor.fetchone()[0]  # type: ignore[index]
        for name, value in SETTINGS.items():
            where = sql.SQL("IN DATABASE {}").format(sql.Identifier(home_of(role)))
            for place in (sql.SQL(""), where):
                cursor.execute(
                    sql.SQL("ALTER ROLE {} {} SET {} TO {}").format(
                        sql.Identifier(role),
                        place,
                        sql.Identifier(name),
                        sql.SQL(value if name == "search_path" else repr(value)),
                    )
                )
    with warehouse.keeping_links():
        for _fresh, _taken_over in ((True, False), (False, True)):
            with warehouse.session(role, home_of(role)) as cursor:
                for name, value in usual.items():
                    cursor.execute(sql.SQL("SHOW {}").format(sql.Identifier(name)))
                    assert warehouse.fetch_value(cursor) == value, name
                cursor.execute("SELECT pg_sleep(0.01)")
    start()
    kept = act("postgres", "SELECT setdatabase, setconfig FROM pg_db_role_setting WHERE setrole = %s::regrole", (role,))
    assert [(where, sorted(settings)) for where, settings in kept] == [
        (0, ["TimeZone=UTC", f"idle_in_transaction_session_timeout={roles.MAY_IDLE}"])
    ]


ENVIRONMENT = {
    "PGTZ": "Asia/Tokyo",
    "PGDATESTYLE": "SQL, DMY",
    "PGGEQO": "off",
    "PGOPTIONS": "-c statement_timeout=1 -c search_path=pg_temp",
    "PGCLIENTENCODING": "LATIN1",
    "PGHOST": "203.0.113.1",
    "PGHOSTADDR": "203.0.113.1",
    "PGPORT": "1",
    "PGUSER": "nobody",
    "PGPASSWORD": "wrong",
    "PGDATABASE": "nowhere",
    "PGTARGETSESSIONATTRS": "standby",
    "PGAPPNAME": "another user",
    "TZ": "Asia/Tokyo",
}


class TestEnvironment:
    @pytest.mark.parametrize("role", ["postgres", "loader", "analyst", "operator", "simulator", "shop_reader"])
    def test_it_leads_no_session_elsewhere_and_sets_nothing_in_it(
        self, role: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with warehouse.session(role, home_of(role)) as cursor:
            before = state(cursor)
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        with warehouse.keeping_links():
            for _fresh_and_taken_over in range(2):
                with warehouse.session(role, home_of(role)) as cursor:
                    assert state(cursor) == before

    def test_the_grid_does_not_move_with_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        grids = "SELECT dataset, extract(EPOCH FROM first_window) FROM control.datasets ORDER BY 1"
        before = act("postgres", grids)
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        start()
        assert act("postgres", grids) == before

    def test_a_service_file_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PGSERVICE", "elsewhere")
        with pytest.raises(ConfigurationError, match="PGSERVICE='elsewhere' is set"):
            warehouse.connect("analyst")


def state(cursor: psycopg2.extensions.cursor) -> list[tuple[str, str]]:
    """What a session begins with."""
    cursor.execute(
        "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)",
        ([*SETTINGS, "application_name", "geqo", "lc_time", "session_replication_role"],),
    )
    found = [tuple(row) for row in cursor.fetchall()]
    cursor.execute("SELECT current_user, current_database(), inet_server_port(), '2026-10-05'::timestamptz::text")
    return [*found, ("who", repr(tuple(cursor.fetchone() or ())))]


class TestConnections:
    def test_none_but_the_loader_and_airflow_may_take_as_many_as_they_like(self) -> None:
        # Not those that other tests made for sources of their own.
        ours = list(credentials.logins())
        found = act("postgres", "SELECT rolname, rolconnlimit FROM pg_roles WHERE rolname = ANY(%s)", (ours,))
        limits = {row.rolname: row.rolconnlimit for row in found}
        assert {role for role, limit in limits.items() if limit < 0} == {"postgres", "airflow", "loader"}
        (most,) = act("postgres", "SHOW max_connections")
        assert sum(limit for limit in limits.values() if limit > 0) < 0.7 * int(most[0])

    @pytest.mark.parametrize("role", ["analyst", "web_reader"])
    def test_one_that_takes_all_it_can_get_leaves_room(self, role: str) -> None:
        held = []
        try:
            with pytest.raises(psycopg2.OperationalError, match="too many connections for role"):
                for _more in range(200):
                    held.append(warehouse.connect(role, home_of(role)))
            act("loader", "SELECT 1")
            act("airflow", "SELECT 1")
        finally:
            for link in held:
                link.close()


class TestClock:
    @pytest.fixture
    def started_without_a_clock(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """The schemas as a start in production leaves them; afterwards as the tests need them."""
        with monkeypatch.context() as production, closing(bootstrap._admin(settings.get().warehouse_database)) as admin:
            production.delenv("HIGHWATER_NOW")
            bootstrap._warehouse(admin)
        yield
        with closing(bootstrap._admin(settings.get().warehouse_database)) as admin:
            bootstrap._warehouse(admin)

    @pytest.mark.usefixtures("started_without_a_clock")
    @pytest.mark.parametrize("role", ["loader", "analyst", "operator", "postgres"])
    def test_nobody_moves_it_in_production(self, role: str) -> None:
        ask = "SET highwater.now = '2099-01-01'; SELECT abs(extract(EPOCH FROM ops.clock() - now())) < 60"
        assert act(role, ask) == [(True,)]

    @pytest.mark.parametrize("role", ["loader", "analyst", "operator"])
    def test_only_a_start_says_whether_it_may_be_moved(self, role: str) -> None:
        refused(role, "UPDATE control.platform SET clock_may_be_set = true")
        refused(role, "CREATE OR REPLACE FUNCTION ops.clock_may_be_set() RETURNS boolean LANGUAGE sql RETURN true")


def test_no_start_leaves_a_way_to_the_programs_of_the_server() -> None:
    for role in ("airflow", *LOGINS, *extension.READERS):
        refused(role, "COPY (SELECT 1) TO PROGRAM 'true'")
