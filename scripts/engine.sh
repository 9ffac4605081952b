#!/usr/bin/env bash
# Starts a Docker engine where none runs, and stops the one that it started.
# Usage: engine.sh start | stop | status
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly RUN_DIR=/run/vuls-live
readonly PID_FILE=$RUN_DIR/dockerd.pid
readonly ENGINE_LOG=$RUN_DIR/dockerd.log
readonly SYSTEMD_MARK=$RUN_DIR/docker.service.started
readonly DATA_ROOT=/var/lib/docker
readonly START_SECONDS=60
readonly STOP_SECONDS=30

systemd_runs() {
    [[ -d /run/systemd/system ]]
}

# our_pid: the process id of the engine started by hand; fails when there is none. A process id can be
# another program's by now, so the command line has to name our pid file.
our_pid() {
    local pid
    [[ -s $PID_FILE ]] || return 1
    pid="$(<"$PID_FILE")"
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "--pidfile=$PID_FILE" || return 1
    printf '%s\n' "$pid"
}

wait_until_ready() {
    local deadline=$((SECONDS + START_SECONDS))
    until engine_answers; do
        if ((SECONDS >= deadline)) || { [[ $1 == by-hand ]] && ! kill -0 "$2" 2>/dev/null; }; then
            log "the end of the engine's log:"
            if [[ $1 == by-hand ]]; then tail -n 30 "$ENGINE_LOG" >&2; else journalctl -u docker -n 30 --no-pager >&2; fi
            fail "the Docker engine did not get ready within $START_SECONDS s" "no host can be started" \
                "read the lines above; common causes: no iptables, a full disk, cgroups not mounted"
        fi
        sleep 0.3
    done
}

start() {
    if engine_answers; then
        log "an engine runs already ($(docker version --format '{{.Server.Version}}'))"
        return
    fi
    { command -v dockerd && command -v docker; } >/dev/null ||
        fail "dockerd or docker is not installed" "there is no engine to start" "run scripts/prepare.sh"
    mkdir -p "$RUN_DIR"
    if systemd_runs; then
        log "starting docker.service"
        # What docker.service brings up with it goes down with it.
        printf 'docker.socket docker.service' >"$SYSTEMD_MARK"
        systemctl --quiet is-active containerd.service || printf ' containerd.service' >>"$SYSTEMD_MARK"
        systemctl start docker.service
        wait_until_ready systemd
    else
        log "starting dockerd by hand (log: $ENGINE_LOG)"
        rm -f "$PID_FILE"
        # Without the variable, engines from 26.1 on refuse bridges on kernels that lack IPv6 settings.
        DOCKER_ALLOW_IPV6_ON_IPV4_INTERFACE=1 setsid dockerd --data-root="$DATA_ROOT" --pidfile="$PID_FILE" \
            >"$ENGINE_LOG" 2>&1 </dev/null 9>&- &
        wait_until_ready by-hand $!
    fi
    log "engine $(docker version --format '{{.Server.Version}}') is ready"
}

stop() {
    local pid running deadline units
    if ! pid="$(our_pid)" && [[ ! -e $SYSTEMD_MARK ]]; then
        log "no engine of ours runs; leaving everything as it is"
        return
    fi
    if running="$(docker ps --quiet 2>/dev/null)" && [[ -n $running ]]; then
        log "$(wc -l <<<"$running") container(s) still run; leaving the engine up"
        return
    fi
    if [[ -e $SYSTEMD_MARK ]]; then
        read -ra units <"$SYSTEMD_MARK" || true
        systemctl stop "${units[@]}"
        rm -f "$SYSTEMD_MARK"
        log "stopped ${units[*]}"
        return
    fi
    kill -TERM "$pid"
    deadline=$((SECONDS + STOP_SECONDS))
    while our_pid >/dev/null; do
        ((SECONDS < deadline)) || fail "dockerd (process $pid) did not stop within $STOP_SECONDS s" \
            "it still runs" "read $ENGINE_LOG, then stop the process by hand"
        sleep 0.2
    done
    rm -f "$PID_FILE"
    log "engine stopped"
}

status() {
    if ! engine_answers; then
        printf 'engine: stopped\n'
        return 1
    elif our_pid >/dev/null || [[ -e $SYSTEMD_MARK ]]; then
        printf 'engine: running, started by this script\n'
    else
        printf 'engine: running, started by somebody else\n'
    fi
}

[[ $# -eq 1 ]] || usage_error "usage: engine.sh start | stop | status"
case $1 in
start | stop)
    as_root "$@"
    mkdir -p "$RUN_DIR"
    # Two callers at once (make up in two terminals) must not start two engines.
    exec 9>"$RUN_DIR/engine.lock"
    flock 9
    "$1"
    ;;
status) status ;;
*) usage_error "unknown verb '$1'; known: start, stop, status" ;;
esac
