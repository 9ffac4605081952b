"""What each host has and had, by CVE; findings with links; scans with counts and a kernel that waits for a reboot."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
kind = "expand"

COLUMNS = """
ALTER TABLE finding ADD COLUMN links jsonb NOT NULL DEFAULT '[]';
ALTER TABLE scan ADD COLUMN kernel text NOT NULL DEFAULT '', ADD COLUMN reboot_required boolean NOT NULL DEFAULT false,
    ADD COLUMN counts jsonb;
CREATE INDEX scan_assessed ON scan (host_id, id DESC) WHERE verdict = 'assessed';
CREATE INDEX run_ended ON run (host_id, finished_at DESC) WHERE status IN ('success', 'failed');
"""

# A row changes with its finding, not with each scan that finds it again: what a host has now are the findings of its
# last assessed scan.
TABLE = """
CREATE TABLE host_finding (
    host_id bigint REFERENCES host ON DELETE CASCADE,
    cve_id text,
    severity text NOT NULL CHECK (severity IN ('critical', 'high', 'medium', 'low', 'unknown')),
    severity_before text CHECK (severity_before IN ('critical', 'high', 'medium', 'low', 'unknown')),
    change text NOT NULL CHECK (change IN ('baseline', 'new', 'reappeared', 'severity_changed', 'fixed')),
    changed_scan_id bigint NOT NULL,
    changed_at timestamptz NOT NULL CHECK (changed_at > '1970-01-01Z' AND changed_at < '9999-01-01Z'),
    first_seen_at timestamptz NOT NULL CHECK (first_seen_at > '1970-01-01Z' AND first_seen_at < '9999-01-01Z'),
    PRIMARY KEY (host_id, cve_id)
);
"""

# A time that drivers do not know, which a worker could write, would fail the lists of everybody.
TIMES = """
ALTER TABLE run ADD CONSTRAINT run_started_at_known
    CHECK (started_at > '1970-01-01Z' AND started_at < '9999-01-01Z') NOT VALID;
ALTER TABLE run ADD CONSTRAINT run_finished_at_known
    CHECK (finished_at > '1970-01-01Z' AND finished_at < '9999-01-01Z') NOT VALID;
ALTER TABLE scan ADD CONSTRAINT scan_created_at_known
    CHECK (created_at > '1970-01-01Z' AND created_at < '9999-01-01Z') NOT VALID;
"""

# A worker's rows name its own scans, and it changes neither whose a row is nor since when it is known. The hosts of a
# zone are looked up once for a statement: a function that is called for each of hundreds of rows takes long.
RIGHTS = """
DROP POLICY own_zone ON finding;
CREATE POLICY own_zone ON finding TO vuls_worker_access
    USING (host_id IN (SELECT id FROM host WHERE zone = worker_zone()));
ALTER TABLE host_finding ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON host_finding TO vuls_web_access USING (true);
CREATE POLICY own_zone ON host_finding TO vuls_worker_access
    USING (host_id IN (SELECT id FROM host WHERE zone = worker_zone()));
CREATE POLICY own_scan ON host_finding AS RESTRICTIVE TO vuls_worker_access USING (true)
    WITH CHECK (EXISTS (SELECT FROM scan WHERE scan.id = changed_scan_id AND scan.host_id = host_finding.host_id));
GRANT SELECT ON host_finding TO vuls_web_access;
GRANT SELECT, INSERT ON host_finding TO vuls_worker_access;
GRANT UPDATE (severity, severity_before, change, changed_scan_id, changed_at) ON host_finding TO vuls_worker_access;
"""

WITHOUT = """
DROP POLICY own_zone ON finding;
CREATE POLICY own_zone ON finding TO vuls_worker_access USING (worker_host(host_id));
DROP TABLE host_finding;
DROP INDEX run_ended;
DROP INDEX scan_assessed;
ALTER TABLE run DROP CONSTRAINT run_started_at_known, DROP CONSTRAINT run_finished_at_known;
ALTER TABLE scan DROP CONSTRAINT scan_created_at_known;
ALTER TABLE scan DROP COLUMN counts, DROP COLUMN kernel, DROP COLUMN reboot_required;
ALTER TABLE finding DROP COLUMN links;
"""


def upgrade() -> None:
    """Add all of it; 0007a fills it from the scans that are there."""
    for statements in (COLUMNS, TABLE, TIMES, RIGHTS):
        op.get_bind().exec_driver_sql(statements)


def downgrade() -> None:
    """Forget it; scans and findings stay."""
    op.get_bind().exec_driver_sql(WITHOUT)
