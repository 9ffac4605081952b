"""How long a scan of a task may take."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
kind = "expand"

# A run keeps the limit that its task had as it was asked for. No worker may change either.
COLUMNS = """
ALTER TABLE scheduled_task ADD COLUMN time_limit_minutes smallint CHECK (time_limit_minutes BETWEEN 1 AND 1440);
ALTER TABLE run ADD COLUMN time_limit_minutes smallint CHECK (time_limit_minutes BETWEEN 1 AND 1440);
"""


def upgrade() -> None:
    """Make room for it."""
    op.get_bind().exec_driver_sql(COLUMNS)


def downgrade() -> None:
    """Forget it again: scans take as long as the workers let them."""
    op.get_bind().exec_driver_sql(
        "ALTER TABLE run DROP COLUMN time_limit_minutes; ALTER TABLE scheduled_task DROP COLUMN time_limit_minutes;"
    )
