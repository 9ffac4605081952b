"""Attempts that are taken up again, hosts that are being scanned, and hosts that share a hypervisor."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
kind = "expand"

# A worker that may not start a run yet gives its job back: the scheduler sends it again once it fits.
RUNS = """
ALTER TABLE run ADD COLUMN takeovers smallint NOT NULL DEFAULT 0;
CREATE INDEX run_holding ON run (host_id) WHERE lease_expires_at IS NOT NULL;
GRANT UPDATE (takeovers, sent_at) ON run TO vuls_worker_access;
"""

# As in 0007: a worker may write these.
TIMES = """
ALTER TABLE run ADD CONSTRAINT run_sent_at_known
    CHECK (sent_at > '1970-01-01Z' AND sent_at < '9999-01-01Z') NOT VALID;
ALTER TABLE run ADD CONSTRAINT run_lease_expires_at_known
    CHECK (lease_expires_at > '1970-01-01Z' AND lease_expires_at < '9999-01-01Z') NOT VALID;
"""

HOSTS = """
ALTER TABLE host ADD COLUMN hypervisor_group text CHECK (hypervisor_group ~ '^[A-Za-z0-9_-]{1,63}$');
"""


def upgrade() -> None:
    """Make room for all of it."""
    for statements in (RUNS, TIMES, HOSTS):
        op.get_bind().exec_driver_sql(statements)


def downgrade() -> None:
    """Forget them again."""
    op.get_bind().exec_driver_sql(
        "REVOKE UPDATE (sent_at) ON run FROM vuls_worker_access; DROP INDEX run_holding;"
        "ALTER TABLE run DROP CONSTRAINT run_sent_at_known, DROP CONSTRAINT run_lease_expires_at_known;"
        "ALTER TABLE run DROP COLUMN takeovers; ALTER TABLE host DROP COLUMN hypervisor_group;"
    )
