"""Fills what 0007 made room for from the scans that are there, host by host.

All hosts at once would take as long as all findings of all scans do, and with the tables of 0007 locked meanwhile. Each
host is a transaction of its own here, none locks a table, and what is broken off goes on where it stopped.
"""

from alembic import op

revision = "0007a"
down_revision = "0007"
branch_labels = None
depends_on = None
kind = "expand"

# Only the latest scan of a host is asked for its kernel: a result takes long to read.
FILL_KERNEL = """
UPDATE scan SET kernel = left(coalesce(result #>> '{runningKernel,release}', ''), 200),
                reboot_required = coalesce(result #> '{runningKernel,rebootRequired}' = 'true', false)
 WHERE id = (SELECT max(id) FROM scan WHERE host_id = %(host)s);
"""

FILL_COUNTS = """
UPDATE scan SET counts = coalesce(counted.counts, '{}')
  FROM scan AS assessed LEFT JOIN (
      SELECT scan_id, jsonb_object_agg(severity, number) AS counts
        FROM (SELECT scan_id, severity, count(*) AS number
                FROM finding JOIN scan ON scan.id = scan_id AND scan.host_id = %(host)s
               GROUP BY scan_id, severity) AS by_severity
       GROUP BY scan_id) AS counted ON counted.scan_id = assessed.id
 WHERE scan.id = assessed.id AND assessed.host_id = %(host)s AND scan.verdict = 'assessed' AND scan.counts IS NULL;
"""

# As if each scan had been compared with the assessed one before it when it was stored.
FILL_FINDINGS = """
INSERT INTO host_finding
    (host_id, cve_id, severity, severity_before, change, changed_scan_id, changed_at, first_seen_at)
WITH assessed AS (
    SELECT id, host_id, created_at, row_number() OVER (PARTITION BY host_id ORDER BY id) AS place
      FROM scan WHERE verdict = 'assessed' AND host_id = %(host)s
), seen AS (
    SELECT finding.host_id, cve_id, severity, place, assessed.id AS scan_id, created_at,
           lag(place) OVER earlier AS place_before, lag(severity) OVER earlier AS severity_before
      FROM finding JOIN assessed ON assessed.id = finding.scan_id
    WINDOW earlier AS (PARTITION BY finding.host_id, cve_id ORDER BY place)
), changed AS (
    SELECT *, CASE WHEN place_before IS NULL AND place = 1 THEN 'baseline'
                   WHEN place_before IS NULL THEN 'new'
                   WHEN place_before < place - 1 THEN 'reappeared'
                   WHEN severity_before <> severity THEN 'severity_changed' END AS change
      FROM seen
), latest AS (
    SELECT DISTINCT ON (host_id, cve_id) * FROM changed WHERE change IS NOT NULL ORDER BY host_id, cve_id, place DESC
), life AS (
    SELECT host_id, cve_id, min(created_at) AS first_seen_at, max(place) AS last_place
      FROM seen GROUP BY host_id, cve_id
)
SELECT life.host_id, cve_id, latest.severity,
       CASE WHEN gone.id IS NULL AND change = 'severity_changed' THEN latest.severity_before END,
       CASE WHEN gone.id IS NULL THEN change ELSE 'fixed' END,
       coalesce(gone.id, latest.scan_id), coalesce(gone.created_at, latest.created_at), first_seen_at
  FROM latest JOIN life USING (host_id, cve_id)
  LEFT JOIN assessed AS gone ON gone.host_id = life.host_id AND gone.place = last_place + 1
    ON CONFLICT DO NOTHING;
"""

HOSTS = "SELECT DISTINCT host_id FROM scan ORDER BY host_id"
FILL = (FILL_KERNEL, FILL_COUNTS, FILL_FINDINGS)


def upgrade() -> None:
    """Fill the rows of each host."""
    with op.get_context().autocommit_block():
        bind = op.get_bind()
        for host_id in bind.exec_driver_sql(HOSTS).scalars().all():
            for statement in FILL:
                bind.exec_driver_sql(statement, {"host": host_id})


def downgrade() -> None:
    """Leave it: what it filled goes with 0007."""
