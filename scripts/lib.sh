# shellcheck shell=bash
# What every script here shares: log lines, paths, labels. Source it first.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
SCRIPTS="$ROOT/scripts"
LOCAL="$ROOT/.local"
CACHE="${VULS_LIVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vuls-live}"
HTTPS_PORT="${VULS_HTTPS_PORT:-8443}"
STACK_LABEL=vuls-live.stack
SUITES=(bookworm trixie)
KEPT_BY_SUDO=VULS_LIVE_CACHE,VULS_LIVE_CLOCK,VULS_HTTPS_PORT,VULS_BINARY,VULS_IMAGE,VULS_TEST_LONG
KEPT_BY_SUDO+=,http_proxy,https_proxy,no_proxy,PIP_INDEX_URL,PIP_CERT,UV_DEFAULT_INDEX,SSL_CERT_FILE
# shellcheck disable=SC2034  # read by the scripts that source this file
readonly ROOT SCRIPTS LOCAL CACHE HTTPS_PORT STACK_LABEL SUITES KEPT_BY_SUDO

# Environments are made without bytecode: whoever forbids writing it pays for compiling at each start of a program.
unset PYTHONDONTWRITEBYTECODE

ME="$(basename "$0" .sh)"
# One clock for a script and all that it calls, so that the seconds in the output grow.
export VULS_LIVE_CLOCK="${VULS_LIVE_CLOCK:-$(date +%s)}"

# log TEXT...: one progress line with the seconds since the outermost script began.
log() {
    printf '[%4ds] %s: %s\n' "$(($(date +%s) - VULS_LIVE_CLOCK))" "$ME" "$*" >&2
}

# fail WHAT MEANING NEXT: say what happened, what it means and what to do, then end with 1.
fail() {
    printf '[%4ds] %s: ERROR: %s\n' "$(($(date +%s) - VULS_LIVE_CLOCK))" "$ME" "$1" >&2
    printf '        Meaning: %s\n        Next:    %s\n' "$2" "$3" >&2
    exit 1
}

# usage_error TEXT: a wrong call, status 2.
usage_error() {
    printf '%s: %s\n' "$ME" "$1" >&2
    exit 2
}

# as_root "$@": run the calling script again through sudo unless it is root already.
as_root() {
    [[ $EUID -eq 0 ]] && return
    if ! sudo -n true 2>/dev/null; then
        fail "not root, and sudo asks for a password or is missing" \
            "the script starts a Docker engine, builds images and changes the network: all of it needs root" \
            "run it as root, or run 'sudo -v' first"
    fi
    exec sudo -n --preserve-env="$KEPT_BY_SUDO" -- "$0" "$@"
}

# sha12: the first 12 hex digits of the SHA-256 of standard input.
sha12() {
    sha256sum | cut -c1-12
}

# heartbeat TEXT: says every 20 s that the work goes on, until killed. Waits without a program of its own (a read
# that nothing answers), because a sleep would outlive the kill.
heartbeat() {
    while true; do
        read -rt 20 <> <(:) || true
        log "$1 (still at it)"
    done
}

# with_heartbeat TEXT COMMAND...: run a command whose output nobody wants to read, saying every 20 s that it
# still runs. Its output goes to a log file, whose end is printed when it fails; its exit status is returned.
with_heartbeat() {
    local text="$1" out beat status=0
    shift
    mkdir -p "$LOCAL/log"
    out="$LOCAL/log/$ME-$BASHPID.log"
    log "$text"
    heartbeat "$text" 9>&- &
    beat=$!
    "$@" >"$out" 2>&1 || status=$?
    kill "$beat" 2>/dev/null || true
    wait "$beat" 2>/dev/null || true
    if ((status)); then
        log "$text: exit status $status; the end of $out:"
        tail -n 40 "$out" >&2
    else
        rm -f "$out"
    fi
    return "$status"
}

# base_image SUITE: the moving tag of a base image.
base_image() {
    printf 'vuls-live/base:%s\n' "$1"
}

# image_archive TAG: where the archive of an image that was built here is kept.
image_archive() {
    printf '%s/images/%s.tar\n' "$CACHE" "${1//[\/:]/-}"
}

# prune_images REPOSITORY TAG...: forgets the images that earlier recipes left behind: archives older than two weeks,
# and in the engine what is neither one of the tags nor has an archive. What a container uses stays: the engine refuses.
prune_images() {
    local repository="$1" tag
    shift
    find "$CACHE/images" -name "${repository//\//-}-*.tar" -mtime +14 -delete
    for tag in $(docker image ls --format '{{.Tag}}' "$repository"); do
        [[ " $* " == *" $tag "* || -e $(image_archive "$repository:$tag") ]] ||
            docker image rm "$repository:$tag" >/dev/null 2>&1 || true
    done
}

engine_answers() {
    command -v docker >/dev/null && docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

need_engine() {
    engine_answers || fail "no Docker engine answers" "containers can be neither made nor looked at" \
        "run make up; for an engine alone scripts/engine.sh start (on a fresh machine after scripts/prepare.sh)"
}

# host_arguments NAME SUITE LABEL: fills ARGUMENTS with what docker run needs for a host that boots systemd. Why
# these: systemd wants its cgroup tree writable and mounts of its own; --privileged is refused on some machines, and
# SYS_ADMIN with NET_ADMIN is enough; with a tty, docker logs shows the journal.
host_arguments() {
    mkdir -p "$CACHE/apt/$2"
    # shellcheck disable=SC2034  # read by the callers
    ARGUMENTS=(
        --name "$1" --hostname "$1" --label "$STACK_LABEL=$3"
        --tty --stop-signal SIGRTMIN+3 --log-opt max-size=20m
        --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined --cgroupns=host
        --volume /sys/fs/cgroup:/sys/fs/cgroup:rw
        --tmpfs /run --tmpfs /run/lock --tmpfs /tmp:exec
        --volume "$CACHE/apt/$2:/var/cache/apt/shared"
    )
}

# raise_inotify_limit: a booted host takes six inotify instances, and the kernel's usual limit is 128 for all of root.
# Holds until the machine restarts.
raise_inotify_limit() {
    local setting=/proc/sys/fs/inotify/max_user_instances
    (($(<"$setting") >= 1024)) && return
    log "raising fs.inotify.max_user_instances from $(<"$setting") to 1024"
    printf '1024\n' >"$setting" || log "that was refused; with many hosts, units may fail for lack of it"
}

# wait_for_boot NAME: until systemd has started everything; says which units are ill.
wait_for_boot() {
    local name="$1" deadline=$((SECONDS + 90)) state=
    while ((SECONDS < deadline)); do
        state="$(docker exec "$name" systemctl is-system-running 2>/dev/null || true)"
        case $state in
        running) return ;;
        degraded)
            log "$name runs, but has failed units:"
            docker exec "$name" systemctl --failed --plain --no-legend --no-pager >&2
            return
            ;;
        esac
        sleep 0.3
    done
    docker logs --tail 30 "$name" >&2 || true
    fail "$name did not finish booting within 90 s (state: ${state:-unknown})" "its services cannot be deployed" \
        "read its last lines above; docker exec -it $name systemctl list-jobs tells more"
}

# apt_sources SUITE: apt's sources for a Debian suite, at the addresses that this machine itself uses.
apt_sources() {
    local targets codename main security
    # shellcheck disable=SC2016  # the words are apt's, not the shell's
    targets="$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null || true)"
    codename="$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)"
    main="$(awk -v release="$codename" '$1 ~ /^https?:/ && $3 == "main" && $2 == release { print $1; exit }' <<<"$targets")"
    security="$(awk -v release="$codename-security" \
        '$1 ~ /^https?:/ && $3 == "main" && $2 == release { print $1; exit }' <<<"$targets")"
    [[ -n $main && -n $security ]] ||
        fail "apt on this machine has no archive of $codename or none of its security updates" \
            "the hosts' images are built from the archives that the machine itself uses" \
            "put both into /etc/apt/sources.list or sources.list.d and run apt-get update"
    printf 'deb %s %s main\n' "$main" "$1" "$main" "$1-updates" "$security" "$1-security"
}
