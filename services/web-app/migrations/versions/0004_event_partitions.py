"""The event log in partitions of a week, which are dropped when they are old, and the oldest event still there."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
kind = "expand"

# Weeks, not days: every read of the log looks at each partition.
TABLE = """
CREATE TABLE event_floor (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    seq bigint NOT NULL
);
INSERT INTO event_floor (seq)
SELECT coalesce((SELECT min(seq) FROM event), CASE WHEN is_called THEN last_value + 1 ELSE 1 END) FROM event_seq;

ALTER TABLE event RENAME TO event_whole;
ALTER INDEX event_pkey RENAME TO event_whole_pkey;
CREATE TABLE event (
    id bigint GENERATED ALWAYS AS IDENTITY,
    seq bigint,
    type text NOT NULL,
    host_id bigint,
    data jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX event_by_seq ON event (seq);
CREATE TABLE event_default PARTITION OF event DEFAULT;
"""

MAINTENANCE = """
CREATE FUNCTION event_add_week(first_day date) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    name text := 'event_w' || to_char(first_day, 'YYYYMMDD');
BEGIN
    -- Rows that came while the week was missing stay where they are.
    IF to_regclass(name) IS NULL
        AND NOT EXISTS (SELECT FROM event_default WHERE created_at >= first_day AND created_at < first_day + 7) THEN
        EXECUTE 'CREATE TABLE ' || quote_ident(name) || ' PARTITION OF event FOR VALUES FROM ('
            || quote_literal(first_day) || ') TO (' || quote_literal(first_day + 7) || ')';
    END IF;
END $$;

-- Whoever deletes events, by hand too: a reader that was before them must hear of it.
CREATE FUNCTION event_forgotten() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE event_floor SET seq = greatest(seq, (SELECT max(gone.seq) + 1 FROM gone));
    RETURN NULL;
END $$;
CREATE TRIGGER event_forgotten AFTER DELETE ON event
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION event_forgotten();

-- Prepares the coming weeks, drops those that ended `keep_days` ago, and returns how many went. Writers are never held
-- up for longer than the lock_timeout: what cannot be had is left for the next time.
CREATE FUNCTION event_maintain(keep_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' SET lock_timeout = '1s' AS $$
DECLARE
    week date := date_trunc('week', now())::date;
    old name;
    last bigint;
    dropped integer := 0;
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
        EXECUTE 'SELECT max(seq) FROM ' || quote_ident(old) INTO last;
        UPDATE event_floor SET seq = greatest(seq, last + 1);
        EXECUTE 'DROP TABLE ' || quote_ident(old);
        dropped := dropped + 1;
    END LOOP;
    DELETE FROM event WHERE tableoid = 'event_default'::regclass AND created_at < now() - keep_days * interval '1 day';
    RETURN dropped;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END $$;
"""

COPY = """
INSERT INTO event (id, seq, type, host_id, data, created_at) OVERRIDING SYSTEM VALUE
SELECT id, seq, type, host_id, data, created_at FROM event_whole;
SELECT setval(pg_get_serial_sequence('event', 'id'), max(id)) FROM event HAVING count(*) > 0;
DROP TABLE event_whole;
CREATE OR REPLACE FUNCTION event_number() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(4711);  -- a statement of its own, before nextval
    UPDATE event SET seq = nextval('event_seq') WHERE id = NEW.id AND created_at = NEW.created_at;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER event_number AFTER INSERT ON event
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION event_number();
ALTER TABLE event ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON event TO vuls_web_access, vuls_scheduler_access USING (true);
CREATE POLICY own_zone ON event TO vuls_worker_access USING (worker_host(host_id) OR host_id IS NULL);
CREATE POLICY own_name ON event AS RESTRICTIVE FOR INSERT TO vuls_worker_access
    WITH CHECK (data ->> 'host_id' IS NULL OR data ->> 'host_id' = host_id::text);
GRANT SELECT, INSERT ON event TO vuls_web_access, vuls_scheduler_access, vuls_worker_access;
"""

FIRST_WEEKS = """
SELECT event_add_week(week) FROM (SELECT DISTINCT date_trunc('week', created_at AT TIME ZONE 'UTC')::date AS week
                                    FROM event_whole) AS weeks;
SELECT event_maintain(36500);
"""

RIGHTS = """
GRANT SELECT ON event_floor TO vuls_web_access;
REVOKE EXECUTE ON FUNCTION event_add_week(date), event_forgotten(), event_maintain(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_maintain(integer) TO vuls_scheduler_access;
"""

WHOLE_AGAIN = """
ALTER TABLE event RENAME TO event_whole;
ALTER INDEX event_pkey RENAME TO event_whole_pkey;
CREATE TABLE event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq bigint UNIQUE,
    type text NOT NULL,
    host_id bigint,
    data jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""

FORGET = """
DROP FUNCTION event_maintain(integer);
DROP FUNCTION event_add_week(date);
DROP FUNCTION event_forgotten();
DROP TABLE event_floor;
"""


def upgrade() -> None:
    """Move the log into partitions."""
    for statements in (TABLE, MAINTENANCE, FIRST_WEEKS, COPY, RIGHTS):
        op.get_bind().exec_driver_sql(statements)


def downgrade() -> None:
    """Move it back into one table; what was dropped stays gone."""
    for statements in (WHOLE_AGAIN, COPY, FORGET):
        op.get_bind().exec_driver_sql(statements)
