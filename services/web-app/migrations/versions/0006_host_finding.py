"""Findings with links, scans with the kernel that waits for a reboot."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE finding ADD COLUMN links jsonb NOT NULL DEFAULT '[]';
ALTER TABLE scan ADD COLUMN kernel text NOT NULL DEFAULT '', ADD COLUMN reboot_required boolean NOT NULL DEFAULT false;
"""

# Only the latest scan of a host is asked for it, and a result takes long to read.
KERNELS = """
UPDATE scan SET kernel = left(coalesce(result #>> '{runningKernel,release}', ''), 200),
                reboot_required = coalesce(result #> '{runningKernel,rebootRequired}' = 'true', false)
 WHERE id IN (SELECT max(id) FROM scan GROUP BY host_id);
"""

WITHOUT = """
ALTER TABLE scan DROP COLUMN kernel, DROP COLUMN reboot_required;
ALTER TABLE finding DROP COLUMN links;
"""


def upgrade() -> None:
    """Add what results say of links and kernels."""
    for statements in (COLUMNS, KERNELS):
        op.get_bind().exec_driver_sql(statements)


def downgrade() -> None:
    """Forget it; results still say it."""
    op.get_bind().exec_driver_sql(WITHOUT)
