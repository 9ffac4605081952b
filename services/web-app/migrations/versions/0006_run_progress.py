"""How far a run is, how long the phases of finished ones took, and what its programs say."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
kind = "expand"

PROGRESS = """
ALTER TABLE run ADD COLUMN phase text CHECK (length(phase) <= 64);
ALTER TABLE run ADD COLUMN percent smallint CHECK (percent BETWEEN 0 AND 100);
ALTER TABLE run ADD COLUMN phase_seconds jsonb
    CHECK (jsonb_typeof(phase_seconds) = 'object' AND octet_length(phase_seconds::text) <= 4096);
CREATE INDEX run_with_phases ON run (host_id, finished_at DESC) WHERE phase_seconds IS NOT NULL;
GRANT UPDATE (phase, percent, phase_seconds) ON run TO vuls_worker_access;
"""

# The worker keeps the log of its zone's runs short, the scheduler deletes old ones.
LOG = """
ALTER TABLE run ADD COLUMN log_lines bigint NOT NULL DEFAULT 0;
CREATE TABLE run_log (
    run_id bigint REFERENCES run ON DELETE CASCADE,
    n bigint,
    attempt smallint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    text text NOT NULL CHECK (length(text) <= 8000),
    PRIMARY KEY (run_id, n)
);
CREATE INDEX ON run_log (created_at);
ALTER TABLE run_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON run_log TO vuls_web_access, vuls_scheduler_access USING (true);
CREATE POLICY own_zone ON run_log TO vuls_worker_access
    USING (EXISTS (SELECT FROM run WHERE run.id = run_log.run_id));
GRANT UPDATE (log_lines) ON run TO vuls_worker_access;
GRANT SELECT, DELETE, INSERT (run_id, n, attempt, text) ON run_log TO vuls_worker_access;
GRANT SELECT ON run_log TO vuls_web_access;
GRANT SELECT (created_at), DELETE ON run_log TO vuls_scheduler_access;
"""


def upgrade() -> None:
    """Make room for progress and logs."""
    for statements in (PROGRESS, LOG):
        op.get_bind().exec_driver_sql(statements)


def downgrade() -> None:
    """Forget it again."""
    op.get_bind().exec_driver_sql(
        "DROP TABLE run_log;"
        "ALTER TABLE run DROP COLUMN log_lines, DROP COLUMN phase, DROP COLUMN percent, DROP COLUMN phase_seconds;"
    )
