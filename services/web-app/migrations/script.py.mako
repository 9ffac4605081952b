"""${message}"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None
# "expand": the release before goes on well after it. "contract": takes away what only older releases use.
kind = "expand"


def upgrade() -> None:
    """Apply it."""


def downgrade() -> None:
    """Take it back."""
