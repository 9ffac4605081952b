"""Tasks that were paused with their host come back with it, and queued runs move with their host to another zone."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
kind = "expand"

STATEMENTS = """
ALTER TABLE scheduled_task ADD COLUMN paused_by_removal boolean NOT NULL DEFAULT false;
GRANT UPDATE (zone) ON run TO vuls_web_access;
"""


def upgrade() -> None:
    """Remember why a task is paused, and let the inventory move runs."""
    op.get_bind().exec_driver_sql(STATEMENTS)


def downgrade() -> None:
    """Forget it again."""
    op.get_bind().exec_driver_sql(
        "REVOKE UPDATE (zone) ON run FROM vuls_web_access; ALTER TABLE scheduled_task DROP COLUMN paused_by_removal;"
    )
