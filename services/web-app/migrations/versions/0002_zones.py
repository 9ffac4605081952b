"""A zone's worker writes scans of its own runs, findings of its own scans, and runs that belong to no task."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
kind = "expand"

# What a row refers to decides where it is shown, and foreign keys do not look at policies. So a worker could have put
# findings into the scan of another zone, a last run under its task, or an event that names its host.
STATEMENTS = """
CREATE POLICY no_task ON run AS RESTRICTIVE FOR INSERT TO vuls_worker_access WITH CHECK (task_id = 0);
CREATE POLICY own_run ON scan AS RESTRICTIVE FOR INSERT TO vuls_worker_access
    WITH CHECK (EXISTS (SELECT FROM run WHERE run.id = scan.run_id AND run.host_id = scan.host_id));
CREATE POLICY own_scan ON finding AS RESTRICTIVE FOR INSERT TO vuls_worker_access
    WITH CHECK (EXISTS (SELECT FROM scan WHERE scan.id = finding.scan_id AND scan.host_id = finding.host_id));
CREATE POLICY own_name ON event AS RESTRICTIVE FOR INSERT TO vuls_worker_access
    WITH CHECK (data ->> 'host_id' IS NULL OR data ->> 'host_id' = host_id::text);
"""


def upgrade() -> None:
    """Narrow what the workers' roles may insert."""
    op.get_bind().exec_driver_sql(STATEMENTS)


def downgrade() -> None:
    """Widen it again."""
    op.get_bind().exec_driver_sql(
        "DROP POLICY own_name ON event; DROP POLICY own_scan ON finding; DROP POLICY own_run ON scan;"
        " DROP POLICY no_task ON run;"
    )
