#!/usr/bin/env bash
# Builds Pebble, a small ACME server for tests, and its DNS server from the Go module proxy.
# Usage: pebble.sh      prints the directory in which the programs `pebble` and `pebble-challtestsrv` lie
# Versions stand in pebble/go.mod, and go.sum beside it has the hash of every module. Nothing happens when nothing changed.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly HERE=$SCRIPTS/pebble

# find_go: the machine's own Go, or the one that scripts/vuls/program.sh brought.
find_go() {
    local candidate
    for candidate in "$(command -v go || true)" "$CACHE"/vuls/go-*/go/bin/go; do
        [[ ! -x $candidate ]] || { printf '%s\n' "$candidate" && return; }
    done
    fail "there is no Go" "Pebble cannot be built" "run scripts/vuls/build.sh, which brings one, or install Go"
}

(($# == 0)) || usage_error "usage: pebble.sh"
PROGRAMS="$CACHE/pebble-$(cat "$HERE/go.mod" "$HERE/go.sum" | sha12)"
mkdir -p "$CACHE"
exec 9>"$CACHE/.pebble.lock"
flock 9
if [[ ! -x $PROGRAMS/pebble ]]; then
    GO="$(find_go)"
    rm -rf "$PROGRAMS.part"
    GOBIN="$PROGRAMS.part" with_heartbeat "building Pebble" "$GO" -C "$HERE" install -mod=readonly -trimpath tool >&2 ||
        fail "Pebble could not be built" "certificates from an ACME server cannot be tested" \
            "read the lines above; most often the Go module proxy is out of reach"
    mv "$PROGRAMS.part" "$PROGRAMS"
fi
printf '%s\n' "$PROGRAMS"
