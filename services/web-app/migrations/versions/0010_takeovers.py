"""Attempts that are taken up again, hosts that are being scanned, and hosts that share a hypervisor."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# A worker that may not start a run yet gives its job back: the scheduler sends it again once it fits.
RUNS = """
ALTER TABLE run ADD COLUMN takeovers smallint NOT NULL DEFAULT 0;
CREATE INDEX run_holding ON run (host_id) WHERE lease_expires_at IS NOT NULL;
GRANT UPDATE (takeovers, sent_at) ON run TO vuls_worker_access;
"""

HOSTS = """
ALTER TABLE host ADD COLUMN hypervisor_group text CHECK (hypervisor_group ~ '^[A-Za-z0-9_-]{1,63}$');
"""


def upgrade() -> None:
    """Make room for both."""
    for statements in (RUNS, HOSTS):
        op.get_bind().exec_driver_sql(statements)


def downgrade() -> None:
    """Forget them again."""
    op.get_bind().exec_driver_sql(
        "REVOKE UPDATE (sent_at) ON run FROM vuls_worker_access; DROP INDEX run_holding;"
        "ALTER TABLE run DROP COLUMN takeovers; ALTER TABLE host DROP COLUMN hypervisor_group;"
    )
