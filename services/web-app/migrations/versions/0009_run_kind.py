"""What a run does: scan, only check the connection, or assess the packages of an earlier scan anew."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
kind = "expand"

# No foreign key to the scan that the packages came from: it would make every deleted scan look for others.
COLUMNS = """
ALTER TABLE run ADD COLUMN kind text NOT NULL DEFAULT 'scan' CHECK (kind IN ('scan', 'check', 'reassess'));
ALTER TABLE scan ADD COLUMN packages_from_scan_id bigint;
ALTER TABLE scan ADD COLUMN collected_at timestamptz
    CHECK (collected_at > '1970-01-01Z' AND collected_at < '9999-01-01Z');
ALTER TABLE scan ADD CONSTRAINT scan_collected_with_scan
    CHECK ((packages_from_scan_id IS NULL) = (collected_at IS NULL));
CREATE INDEX run_reassessed ON run (host_id, finished_at DESC) WHERE kind = 'reassess' AND status = 'success';
"""


def upgrade() -> None:
    """Make room for kinds, and for where the packages of a scan came from."""
    op.get_bind().exec_driver_sql(COLUMNS)


def downgrade() -> None:
    """Forget it again: checks and re-assessments count as scans then."""
    op.get_bind().exec_driver_sql(
        "DROP INDEX run_reassessed;"
        "ALTER TABLE run DROP COLUMN kind;"
        "ALTER TABLE scan DROP COLUMN packages_from_scan_id, DROP COLUMN collected_at;"
    )
