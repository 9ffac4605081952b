#!/usr/bin/env bash
# Checks the machine before anything is changed. Collects every finding and fails once with the full list.
# Usage: preflight.sh [--label local|molecule]     the stack that is about to be made
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly MIN_FREE_GIB=10
readonly STACK_NAMES='^vuls-(lb|web-1|web-2|redis|db|worker|target-1|target-2)$'

FINDINGS=()
finding() {
    FINDINGS+=("$1")
}

check_root() {
    [[ $EUID -eq 0 ]] || sudo -n true 2>/dev/null ||
        finding "not root, and sudo needs a password or is missing: run as root, or run 'sudo -v' first"
}

check_system() {
    local name
    name="$(. /etc/os-release && printf '%s' "$PRETTY_NAME")"
    (. /etc/os-release && [[ $ID == debian && $VERSION_ID =~ ^1[23]$ ]]) ||
        finding "this is $name: Debian 12 and 13 are supported"
    # Debian 12 on old kernels or in old containers has the version 1 tree, newer ones the unified one; both work.
    [[ -d /sys/fs/cgroup && -n $(ls -A /sys/fs/cgroup) ]] || finding "/sys/fs/cgroup is empty: mount the cgroup file system"
}

check_python() {
    if ! command -v python3 >/dev/null; then
        finding "python3 is missing: apt-get install python3"
    elif ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        finding "$(python3 --version) is too old: Python 3.11 or newer has to be first on the path"
    fi
}

# free_kib PATH: free space where PATH is or will be.
free_kib() {
    local path="$1"
    while [[ ! -d $path ]]; do
        path="$(dirname "$path")"
    done
    df --output=avail -k "$path" | tail -n 1
}

check_disk() {
    local path free checked=""
    for path in "$(docker info --format '{{.DockerRootDir}}' 2>/dev/null || printf /var/lib/docker)" "$CACHE" "$ROOT"; do
        path="${path:-/var/lib/docker}"
        free="$(free_kib "$path")"
        if ((free < MIN_FREE_GIB * 1024 * 1024)) && [[ " $checked " != *" $path "* ]]; then
            finding "$path has $((free / 1024 / 1024)) GiB free of the $MIN_FREE_GIB GiB needed: make room or move it (VULS_LIVE_CACHE moves the cache)"
        fi
        checked+=" $path"
    done
}

port_is_free() {
    python3 - "$HTTPS_PORT" <<'PYTHON'
import socket, sys
with socket.socket() as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", int(sys.argv[1])))
    except (OSError, OverflowError, ValueError):
        sys.exit(1)
PYTHON
}

check_port() {
    local holder
    if ! [[ $HTTPS_PORT =~ ^[1-9][0-9]{0,4}$ ]] || ((HTTPS_PORT > 65535)); then
        finding "VULS_HTTPS_PORT is '$HTTPS_PORT': a number from 1 to 65535 is needed"
        return
    fi
    # Whose vuls-lb it is, check_strangers says.
    holder="$(docker ps --quiet --filter 'name=^vuls-lb$' --filter "publish=$HTTPS_PORT" 2>/dev/null || true)"
    [[ -n $holder ]] || port_is_free ||
        finding "port 127.0.0.1:$HTTPS_PORT is taken by another program: stop it, or choose another port with VULS_HTTPS_PORT"
}

check_strangers() {
    local name owner
    while IFS=$'\t' read -r name owner; do
        [[ $name =~ $STACK_NAMES && $owner != "$LABEL" ]] || continue
        case $owner in
        local) finding "container $name belongs to the local stack: remove it with 'make down' first" ;;
        "") finding "container $name is not ours but has a name that the stack needs: remove or rename it" ;;
        *) finding "container $name belongs to stack '$owner': remove it with 'scripts/stack.sh destroy --label $owner'" ;;
        esac
    done < <(docker ps --all --format "{{.Names}}\t{{.Label \"$STACK_LABEL\"}}" 2>/dev/null || true)
}

LABEL=local
if [[ $# -eq 2 && $1 == --label && $2 =~ ^(local|molecule)$ ]]; then
    LABEL="$2"
elif (($#)); then
    usage_error "usage: preflight.sh [--label local|molecule]"
fi
check_root
check_system
check_python
check_disk
check_port
check_strangers
if ((${#FINDINGS[@]})); then
    log "${#FINDINGS[@]} finding(s); nothing was changed:"
    printf '  - %s\n' "${FINDINGS[@]}" >&2
    exit 1
fi
log "the machine is fit"
