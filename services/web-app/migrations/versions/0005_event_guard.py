"""What one role writes stops no reader; the floor follows every deletion; weeks go without a look at other weeks."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
kind = "expand"


# What every reader can decode, and every client be sent: an object of bounded size and depth, with numbers that fit a
# double. jsonb has no exponents, and holds 1e400. NOT VALID: rows that are there already stay, and are read around.
def _bounded(column: str) -> str:
    return (
        f"jsonb_typeof({column}) = 'object' AND octet_length({column}::text) <= 65536"
        f" AND NOT jsonb_path_exists({column}, 'strict $.**{{32}}')"
        f" AND NOT jsonb_path_exists({column}, 'strict $.** ? (@ > 1e308 || @ < -1e308)')"
    )


# A run's name and result are in its events, also in those that the scheduler writes when its worker is lost.
GUARD = f"""
ALTER TABLE event ADD CONSTRAINT event_data_bounded CHECK ({_bounded("data")}) NOT VALID;
ALTER TABLE event ADD CONSTRAINT event_type_known CHECK (type IN
    ('task_update', 'task_progress', 'findings_changed', 'host_changed', 'schedule_changed', 'notice')) NOT VALID;
ALTER TABLE event ADD CONSTRAINT event_created_at_sane CHECK
    (created_at >= '2000-01-01 00:00:00+00' AND created_at < '3000-01-01 00:00:00+00') NOT VALID;
ALTER TABLE run ADD CONSTRAINT run_task_name_bounded CHECK (length(task_name) <= 200) NOT VALID;
ALTER TABLE run ADD CONSTRAINT run_result_data_bounded CHECK ({_bounded("result_data")}) NOT VALID;
-- The time decides when an event is dropped, and dropping it sends away who has not read so far.
CREATE POLICY own_time ON event AS RESTRICTIVE FOR INSERT TO vuls_worker_access
    WITH CHECK (created_at BETWEEN now() - interval '1 hour' AND now() + interval '1 hour');
"""

# On the table and on each partition: a statement that names a partition fires that one's triggers only.
WATCH = """
CREATE OR REPLACE FUNCTION event_forgotten() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    last bigint;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE 'SELECT max(seq) FROM ' || TG_RELID::regclass INTO last;
    ELSE
        last := (SELECT max(gone.seq) FROM gone);
    END IF;
    UPDATE event_floor SET seq = last + 1 WHERE seq <= last;
    RETURN NULL;
END $$;

-- A reader that was before what is deleted or truncated must hear of it, whoever does that, by hand too. Only DROP and
-- DETACH of a partition pass unseen: event_maintain moves the floor itself.
CREATE FUNCTION event_watch(log regclass) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE 'CREATE OR REPLACE TRIGGER event_forgotten AFTER DELETE ON ' || log
        || ' REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION event_forgotten()';
    EXECUTE 'CREATE OR REPLACE TRIGGER event_truncated BEFORE TRUNCATE ON ' || log
        || ' FOR EACH STATEMENT EXECUTE FUNCTION event_forgotten()';
END $$;
SELECT event_watch(relid) FROM pg_partition_tree('event');
CREATE INDEX event_default_by_time ON event_default (created_at);
"""

ADD_WEEK = """
CREATE OR REPLACE FUNCTION event_add_week(first_day date) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    name text := 'event_w' || to_char(first_day, 'YYYYMMDD');
BEGIN
    -- Rows that came while the week was missing stay where they are.
    IF to_regclass(name) IS NULL
        AND NOT EXISTS (SELECT FROM event_default WHERE created_at >= first_day AND created_at < first_day + 7) THEN
        EXECUTE 'CREATE TABLE ' || quote_ident(name) || ' PARTITION OF event FOR VALUES FROM ('
            || quote_literal(first_day) || ') TO (' || quote_literal(first_day + 7) || ')';
        PERFORM event_watch(name::regclass);
    END IF;
END $$;
"""

MAINTENANCE = """
-- Prepares the coming weeks, drops those that ended `keep_days` ago, and returns how many went; NULL when a lock could
-- not be had within the lock_timeout, and weeks are left for the next time. While it waits for one, who comes later
-- waits behind it; once it has it, for milliseconds: call it last in a transaction.
CREATE OR REPLACE FUNCTION event_maintain(keep_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' SET lock_timeout = '1s' AS $$
DECLARE
    week date := date_trunc('week', now())::date;
    old name;
    last bigint;
    dropped integer := 0;
BEGIN
    -- Before anything is locked, and from this partition alone: what came while its week was missing. Its trigger moves
    -- the floor.
    DELETE FROM event_default WHERE created_at < now() - keep_days * interval '1 day';
    BEGIN
        FOR ahead IN 0..2 LOOP
            PERFORM event_add_week(week + 7 * ahead);
        END LOOP;
        FOR old IN
            SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = 'event'::regclass AND c.relname ~ '^event_w[0-9]{8}$'
               AND to_date(substr(c.relname, 8), 'YYYYMMDD') + 7 + keep_days <= now()
             ORDER BY c.relname
        LOOP
            LOCK TABLE ONLY event IN ACCESS EXCLUSIVE MODE;  -- no writer is within: the number read next is the last
            EXECUTE 'SELECT max(seq) FROM ' || quote_ident(old) INTO last;
            UPDATE event_floor SET seq = last + 1 WHERE seq <= last;
            EXECUTE 'DROP TABLE ' || quote_ident(old);
            dropped := dropped + 1;
        END LOOP;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
        RETURN NULL;
    END;
    RETURN dropped;
END $$;
REVOKE EXECUTE ON FUNCTION event_watch(regclass) FROM PUBLIC;
"""

# Drivers know no such times, and so no reader got past these rows. Whoever was before them loads anew.
WITHOUT_A_TIME = """
DELETE FROM event_default WHERE created_at < '2000-01-01 00:00:00+00' OR created_at >= '3000-01-01 00:00:00+00';
"""

UNGUARDED = """
DROP POLICY own_time ON event;
ALTER TABLE run DROP CONSTRAINT run_result_data_bounded;
ALTER TABLE run DROP CONSTRAINT run_task_name_bounded;
ALTER TABLE event DROP CONSTRAINT event_created_at_sane;
ALTER TABLE event DROP CONSTRAINT event_type_known;
ALTER TABLE event DROP CONSTRAINT event_data_bounded;
DROP INDEX event_default_by_time;
DROP FUNCTION event_watch(regclass);
"""


def upgrade() -> None:
    """Guard the log, and mend its maintenance."""
    for statements in (GUARD, WATCH, ADD_WEEK, MAINTENANCE, WITHOUT_A_TIME):
        op.get_bind().exec_driver_sql(statements)


def downgrade() -> None:
    """Take the guard away. The maintenance stays mended, and triggers stay where they are."""
    unwatched = ADD_WEEK.replace("        PERFORM event_watch(name::regclass);\n", "")
    for statements in (unwatched, UNGUARDED):
        op.get_bind().exec_driver_sql(statements)
