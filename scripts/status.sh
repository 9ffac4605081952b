#!/usr/bin/env bash
# make status: one line per component of the local stack; the exit status is 1 when something is ill.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Each host and the units that it is there for.
readonly HOST_UNITS=(
    "vuls-lb nginx.service"
    "vuls-web-1 nginx.service vuls-web@1.service vuls-web@2.service vuls-scheduler.service"
    "vuls-web-2 nginx.service vuls-web@1.service vuls-web@2.service vuls-scheduler.service"
    "vuls-redis redis-server.service"
    "vuls-db postgresql@*.service"
    "vuls-worker docker.service vuls-executor.service vuls-worker@default.service"
    "vuls-target-1 ssh.service"
    "vuls-target-2 ssh.service"
)

ILL=0
# line NAME ok|ILL TEXT: one component.
line() {
    [[ $2 == ok ]] || ILL=1
    printf '%-3s  %-14s %s\n' "$2" "$1" "$3"
}

host_line() {
    local host="$1" state unit active text="" verdict=ok
    shift
    state="$(docker container inspect --format '{{.State.Status}}' "$host" 2>/dev/null || true)"
    if [[ $state != running ]]; then
        line "$host" ILL "${state:-does not exist}"
        return
    fi
    # shellcheck disable=SC2016  # expanded in the container
    while read -r unit active; do
        text+="${text:+, }${unit%.service} ${active:-missing}"
        [[ $active == active ]] || verdict=ILL
    done < <(docker exec "$host" sh -c \
        'for unit; do echo "$unit" $(systemctl is-active "$unit" | sort -u); done' sh "$@" </dev/null)
    while read -r unit _; do
        [[ " $* " == *" $unit "* ]] || text+=", $unit failed"
        verdict=ILL
    done < <(docker exec "$host" systemctl --failed --plain --no-legend --no-pager)
    line "$host" "$verdict" "$text"
}

# instances_line HOST: what the web instances say of themselves; a drained one is ill, and so is one that Redis does not wake.
instances_line() {
    local host="$1" verdict=ok rows text
    rows="$(docker exec "$host" vulsctl status 2>&1 </dev/null)" || verdict=ILL
    # The columns: instance, ready, reason, database, redis.
    text="$(awk 'NR > 1 { printf "%s%s %s", sep, $1, ($2 == "yes" ? "ready" : "not ready: " $3)
        if ($5 != "ok") printf ", redis %s", $5; sep = "; " }' <<<"$rows")"
    [[ $text == *"redis "* ]] && verdict=ILL
    line "$host" "$verdict" "${text:-${rows:-no answer}}"
}

https_line() {
    local url="https://localhost:$HTTPS_PORT/health" answer
    if [[ ! -s $LOCAL/ca.crt ]]; then
        line https ILL "$url: not asked, .local/ca.crt is missing"
    elif answer="$(curl --silent --show-error --fail --max-time 5 --cacert "$LOCAL/ca.crt" "$url" 2>&1)"; then
        line https ok "$url answers"
    else
        line https ILL "$url: $answer"
    fi
}

(($# == 0)) || usage_error "usage: status.sh"
as_root "$@"
if ! engine_answers; then
    line engine ILL "no Docker engine answers: make up starts one, and the stack"
    exit 1
fi
line engine ok "Docker $(docker version --format '{{.Server.Version}}')"
for entry in "${HOST_UNITS[@]}"; do
    read -ra words <<<"$entry"
    host_line "${words[@]}"
done
for host in vuls-web-1 vuls-web-2; do
    instances_line "$host"
done
https_line
if ((ILL)); then
    printf 'Next: scripts/logs.sh HOST shows why; make up brings back what is missing, but for what an operator has drained\n' >&2
fi
exit "$ILL"
