#!/usr/bin/env bash
# make logs: follows the journals of all hosts, each line with its host's name. Ends with Ctrl-C.
# Usage: logs.sh [HOST...]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

as_root "$@"
need_engine
if (($#)); then
    HOSTS=("$@")
else
    mapfile -t HOSTS < <(docker ps --filter "label=$STACK_LABEL" --format '{{.Names}}' | sort)
fi
((${#HOSTS[@]})) || fail "no host runs" "there is nothing to follow" "run make up first"

FOLLOWERS=()
stop_following() {
    kill "${FOLLOWERS[@]}" 2>/dev/null || true
}
trap stop_following EXIT
trap 'exit 0' INT TERM

for host in "${HOSTS[@]}"; do
    # The prefix stands before each line; colours and carriage returns of the console are dropped.
    docker logs --follow --tail 20 "$host" > >(sed -u "s/\x1b\[[0-9;?]*[A-Za-z]//g; s/\x1b[@-Z]//g; s/\r//g; s/^/$host | /") 2>&1 &
    FOLLOWERS+=($!)
done
wait
