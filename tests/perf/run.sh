#!/usr/bin/env bash
# All benchmarks, then docs/performance.md from what they found. Takes about 20 minutes; the machine must do nothing else.
# Usage: run.sh [RUNS]     alternating runs of the fan-out, 7 unless told
# What was measured stays in .local/perf/results; python -m tests.perf.report writes the page from it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly RUNS="${1:-7}" LABEL=test-perf RESULTS=.local/perf/results
[[ $RUNS =~ ^[1-9][0-9]?$ ]] || {
    echo "usage: run.sh [RUNS]" >&2
    exit 2
}
trap 'scripts/test_services.sh stop --label "$LABEL"' EXIT
services="$(scripts/test_services.sh start --label "$LABEL")"
eval "$services"
rm -rf "$RESULTS"
mkdir -p "$RESULTS"
python=.venv/bin/python
"$python" -m tests.perf.event_log --out "$RESULTS/event_log.json"
"$python" -m tests.perf.fanout --connections 15000 --out "$RESULTS/connections.json"
"$python" -m tests.perf.fanout --transport unix --servers "Vuls Live,C loop" --clients 1000 --runs "$RUNS" --out "$RESULTS/fanout-unix.json"
"$python" -m tests.perf.fanout --transport tcp --runs "$RUNS" --out "$RESULTS/fanout-tcp.json"
"$python" -m tests.perf.report "$RESULTS"
echo "docs/performance.md and docs/performance.svg are written"
