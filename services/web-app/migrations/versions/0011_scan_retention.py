"""The scheduler deletes scans that are old."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
kind = "expand"

# Findings go with their scan, by the foreign key: no right of the scheduler's own is needed for them.
RIGHTS = """
ALTER POLICY everything ON scan TO vuls_web_access, vuls_scheduler_access;
GRANT SELECT (id, host_id, created_at, verdict, packages_from_scan_id), DELETE ON scan TO vuls_scheduler_access;
"""


def upgrade() -> None:
    """Let it, and let it find them. Workers wait for the index, which takes a second or so for a million scans."""
    op.get_bind().exec_driver_sql(RIGHTS + "CREATE INDEX ON scan (created_at);")


def downgrade() -> None:
    """Keep all scans again."""
    op.get_bind().exec_driver_sql(
        "DROP INDEX scan_created_at_idx; ALTER POLICY everything ON scan TO vuls_web_access;"
        "REVOKE SELECT (id, host_id, created_at, verdict, packages_from_scan_id), DELETE ON scan FROM"
        " vuls_scheduler_access;"
    )
