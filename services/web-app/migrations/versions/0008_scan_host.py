"""How each scan host is, and which vulnerability database a scan was matched against."""

from alembic import op

revision = "0008"
down_revision = "0007a"
branch_labels = None
depends_on = None
kind = "expand"

TABLE = """
CREATE TABLE scan_host (
    zone text CHECK (zone ~ '^[a-z0-9][a-z0-9_]{0,30}$'),
    name text CHECK (name ~ '^[A-Za-z0-9._-]{1,253}$'),
    seen_at timestamptz NOT NULL DEFAULT now() CHECK (seen_at > '1970-01-01Z' AND seen_at < '9999-01-01Z'),
    executor text NOT NULL CHECK (executor IN ('ok', 'degraded', 'ill', 'unreachable')),
    database_digest text CHECK (database_digest ~ '^sha256:[0-9a-f]{64}$'),
    database_modified_at timestamptz
        CHECK (database_modified_at > '1970-01-01Z' AND database_modified_at < '9999-01-01Z'),
    PRIMARY KEY (zone, name)
);
ALTER TABLE scan_host ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON scan_host TO vuls_web_access, vuls_scheduler_access USING (true);
CREATE POLICY own_zone ON scan_host TO vuls_worker_access USING (zone = worker_zone());
GRANT SELECT, INSERT ON scan_host TO vuls_worker_access;
GRANT UPDATE (seen_at, executor, database_digest, database_modified_at) ON scan_host TO vuls_worker_access;
GRANT SELECT ON scan_host TO vuls_web_access;
GRANT SELECT (seen_at), DELETE ON scan_host TO vuls_scheduler_access;
"""

SCAN = """
ALTER TABLE scan
    ADD COLUMN database_digest text CHECK (database_digest ~ '^sha256:[0-9a-f]{64}$'),
    ADD COLUMN database_modified_at timestamptz
        CHECK (database_modified_at > '1970-01-01Z' AND database_modified_at < '9999-01-01Z');
"""


def upgrade() -> None:
    """Make room for it."""
    for statements in (TABLE, SCAN):
        op.get_bind().exec_driver_sql(statements)


def downgrade() -> None:
    """Forget it again."""
    op.get_bind().exec_driver_sql(
        "DROP TABLE scan_host; ALTER TABLE scan DROP COLUMN database_digest, DROP COLUMN database_modified_at;"
    )
