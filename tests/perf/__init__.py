"""Benchmarks. `tests/perf/run.sh` runs them and writes docs/performance.md."""
