#!/usr/bin/env bash
# All benchmarks, then docs/performance.md from what they found. The machine must do nothing else meanwhile.
# Usage: run.sh [RUNS [PAGE]]     alternating runs of the fan-out, 7 unless told; another page than docs/performance.md
# What was measured stays in .local/perf/results; python -m tests.perf.report writes the page from it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly RUNS="${1:-7}" PAGE="${2:-docs/performance.md}" LABEL="${LABEL:-test-perf}" RESULTS=.local/perf/results
[[ $RUNS =~ ^[1-9][0-9]?$ ]] || {
    echo "usage: run.sh [RUNS [PAGE]]" >&2
    exit 2
}

# step NAME BENCHMARK [OPTION...]: runs tests.perf.BENCHMARK; its results get the name.
step() {
    local name="$1" benchmark="$2"
    shift 2
    echo "--- $name"
    .venv/bin/python -m "tests.perf.$benchmark" "$@" --out "$RESULTS/$name.json"
}

main() {
    local services
    trap 'scripts/test_services.sh stop --label "$LABEL"' EXIT
    services="$(scripts/test_services.sh start --label "$LABEL")"
    eval "$services"
    rm -rf "$RESULTS"
    mkdir -p "$RESULTS"
    # Ten thousand handshakes take longer than everything else: three rounds with them are enough.
    step fanout-tcp fanout --transport tcp --runs "$RUNS" --many-runs 3
    step fanout-unix fanout --transport unix --runs "$RUNS" --servers "Vuls Live,C loop" --clients 1000
    step connections fanout --connections 15000
    step event_log event_log
    .venv/bin/python -m tests.perf.report "$RESULTS" "$PAGE"
    echo "$PAGE and ${PAGE%.md}.svg are written"
}

main
exit
