"""How far a run is, and how long the phases of finished ones took."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PROGRESS = """
ALTER TABLE run ADD COLUMN phase text CHECK (length(phase) <= 64);
ALTER TABLE run ADD COLUMN percent smallint CHECK (percent BETWEEN 0 AND 100);
ALTER TABLE run ADD COLUMN phase_seconds jsonb
    CHECK (jsonb_typeof(phase_seconds) = 'object' AND octet_length(phase_seconds::text) <= 4096);
CREATE INDEX run_with_phases ON run (host_id, finished_at DESC) WHERE phase_seconds IS NOT NULL;
GRANT UPDATE (phase, percent, phase_seconds) ON run TO vuls_worker_access;
"""


def upgrade() -> None:
    """Make room for progress."""
    op.get_bind().exec_driver_sql(PROGRESS)


def downgrade() -> None:
    """Forget it again."""
    op.get_bind().exec_driver_sql("ALTER TABLE run DROP COLUMN phase, DROP COLUMN percent, DROP COLUMN phase_seconds;")
