#!/usr/bin/env bash
# The test hosts: containers that boot systemd, and their network.
# Usage: stack.sh create  --label LABEL [--hosts "NAME[:SUITE[:EXTRA]] ..."]
#        stack.sh destroy --label LABEL [--hosts "NAME ..."]
#        stack.sh status  --label LABEL
# LABEL is local (make up), molecule, or test with an optional word (test-redis): clean-up goes by label only.
# Without --hosts: the eight hosts of the local stack. EXTRA is engine (a volume for a Docker engine of its own),
# edge (publishes HTTPS on the loopback address) or memory=SIZE (as in memory=2g: no more than that, and no swap), or several
# of them, joined by +. Containers that are as they should be are left alone.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly STACK_HOSTS=(
    vuls-lb:bookworm:edge
    vuls-web-1:trixie
    vuls-web-2:bookworm
    vuls-redis:trixie
    vuls-db:trixie
    vuls-worker:trixie:engine
    vuls-target-1:bookworm
    vuls-target-2:trixie
)
readonly SPEC_LABEL=vuls-live.spec

# network_of LABEL: the whole stacks share one network name, because they share host names; test hosts do not.
network_of() {
    case $1 in
    local | molecule) printf 'vuls-live\n' ;;
    *) printf 'vuls-live-%s\n' "$1" ;;
    esac
}

# label_of KIND NAME: the stack label of a container or network; empty when it has none, fails when there is no such thing.
label_of() {
    local labels=.Config.Labels
    [[ $1 == network ]] && labels=.Labels
    docker "$1" inspect --format "{{index $labels \"$STACK_LABEL\"}}" "$2" 2>/dev/null
}

# expand ENTRY: NAME SUITE EXTRA of an entry; a known host need not name its suite.
expand() {
    local name suite extra known
    IFS=: read -r name suite extra <<<"$1"
    for known in "${STACK_HOSTS[@]}"; do
        [[ -z $suite && $known == "$name":* ]] && IFS=: read -r name suite extra <<<"$known"
    done
    [[ $name =~ ^[a-z0-9][a-z0-9-]{0,62}$ ]] || usage_error "'$name' is no host name"
    [[ " ${SUITES[*]} " == *" $suite "* ]] || usage_error "host '$name': suite '$suite' is none of: ${SUITES[*]}"
    [[ $extra =~ ^((engine|edge|memory=[1-9][0-9]*[mg])(\+|$))*$ && $extra != *+ ]] ||
        usage_error "host '$name': extra '$extra' is none of: engine edge memory=SIZE (several joined by +)"
    printf '%s %s %s\n' "$name" "$suite" "$extra"
}

# run_arguments NAME SUITE EXTRA: fills ARGUMENTS with what docker run gets.
run_arguments() {
    host_arguments "$1" "$2" "$LABEL"
    ARGUMENTS+=(--network "$NETWORK")
    local extra
    for extra in ${3//+/ }; do
        case $extra in
        engine) ARGUMENTS+=(--volume /var/lib/docker) ;;
        edge) ARGUMENTS+=(--publish "127.0.0.1:$HTTPS_PORT:443") ;;
        memory=*) ARGUMENTS+=(--memory "${extra#*=}" --memory-swap "${extra#*=}") ;;
        esac
    done
}

refuse_strangers() {
    local entry name owner strangers=()
    for entry in "${HOSTS[@]}"; do
        name="${entry%% *}"
        if owner="$(label_of container "$name")" && [[ $owner != "$LABEL" ]]; then
            strangers+=("container $name (stack '${owner:-none}')")
        fi
    done
    if owner="$(label_of network "$NETWORK")" && [[ $owner != "$LABEL" ]]; then
        strangers+=("network $NETWORK (stack '${owner:-none}')")
    fi
    ((${#strangers[@]} == 0)) || fail "names are taken: $(printf '%s; ' "${strangers[@]}")" \
        "another stack uses the host names; two cannot run at once" \
        "remove it first: make down for 'local', scripts/stack.sh destroy --label NAME for the others"
}

create_network() {
    docker network inspect "$NETWORK" >/dev/null 2>&1 ||
        docker network create --label "$STACK_LABEL=$LABEL" "$NETWORK" >/dev/null
}

# create_host NAME SUITE EXTRA: leaves a running container that is exactly as asked for.
create_host() {
    local name="$1" image spec found state
    image="$(docker image inspect --format '{{.Id}}' "$(base_image "$2")")" ||
        fail "there is no image $(base_image "$2")" "host $name cannot start" "run scripts/images.sh build"
    run_arguments "$1" "$2" "$3"
    spec="$(printf '%s\n' "$image" "${ARGUMENTS[@]}" | sha12)"
    if found="$(docker container inspect --format "{{index .Config.Labels \"$SPEC_LABEL\"}} {{.State.Status}}" "$name" 2>/dev/null)"; then
        state="${found#* }"
        if [[ ${found% *} == "$spec" ]]; then
            [[ $state == running ]] && return
            log "starting $name (was $state)"
            docker start "$name" >/dev/null
            return
        fi
        log "replacing $name: its image or its settings changed"
        docker rm --force --volumes "$name" >/dev/null
    else
        log "creating $name ($2)"
    fi
    docker run --detach "${ARGUMENTS[@]}" --label "$SPEC_LABEL=$spec" "$image" >/dev/null ||
        fail "container $name did not start" "the stack is incomplete" "read the engine's message above"
}

# weigh_hosts TIMES: how much all containers together weigh against each process outside of them. Left alone it is once, so that
# eight hosts got as little of the processor as one of the controller's forks. Engines that use systemd's groups need nothing.
weigh_hosts() {
    local file
    for file in /sys/fs/cgroup/cpu/docker/cpu.shares:1024 /sys/fs/cgroup/docker/cpu.weight:100; do
        [[ ! -w ${file%:*} ]] || echo "$((${file#*:} * $1))" >"${file%:*}"
    done
}

create() {
    local entry
    need_engine
    refuse_strangers
    raise_inotify_limit
    create_network
    for entry in "${HOSTS[@]}"; do
        # shellcheck disable=SC2086  # three words, of which the last may be missing
        create_host ${entry} ""
    done
    for entry in "${HOSTS[@]}"; do
        wait_for_boot "${entry%% *}"
    done
    weigh_hosts 3
    log "${#HOSTS[@]} hosts of stack '$LABEL' are up"
}

destroy() {
    local names=() networks=() entry
    if ! engine_answers; then
        log "no engine runs, so nothing of stack '$LABEL' does"
        return
    fi
    if ((ALL_HOSTS)); then
        mapfile -t names < <(docker ps --all --quiet --filter "label=$STACK_LABEL=$LABEL")
    else
        for entry in "${HOSTS[@]}"; do
            [[ $(label_of container "${entry%% *}") == "$LABEL" ]] && names+=("${entry%% *}")
        done
    fi
    ((${#names[@]} == 0)) || docker rm --force --volumes "${names[@]}" >/dev/null
    # The network goes with the last host.
    if [[ -z $(docker ps --all --quiet --filter "label=$STACK_LABEL=$LABEL") ]]; then
        mapfile -t networks < <(docker network ls --quiet --filter "label=$STACK_LABEL=$LABEL")
        ((${#networks[@]} == 0)) || docker network rm "${networks[@]}" >/dev/null
    fi
    [[ -n $(docker ps --quiet --filter "label=$STACK_LABEL") ]] || weigh_hosts 1
    log "removed ${#names[@]} container(s) and ${#networks[@]} network(s) of stack '$LABEL'"
}

status() {
    need_engine
    docker ps --all --filter "label=$STACK_LABEL=$LABEL" --format '{{.Names}}\t{{.State}}\t{{.Status}}'
}

readonly VERB="${1:-}"
[[ $VERB =~ ^(create|destroy|status)$ ]] || usage_error "usage: stack.sh create | destroy | status --label LABEL [--hosts ...]"
shift
as_root "$VERB" "$@"
LABEL="" ALL_HOSTS=1 WANTED=("${STACK_HOSTS[@]}")
while (($#)); do
    case $1 in
    --label) LABEL="${2:?--label needs a value}" ;;
    --hosts)
        read -ra WANTED <<<"${2:?--hosts needs a value}"
        ALL_HOSTS=0
        ;;
    *) usage_error "unknown argument '$1'" ;;
    esac
    shift 2
done
[[ $LABEL =~ ^(local|molecule|test(-[a-z0-9-]+)?)$ ]] || usage_error "--label is local, molecule, test or test-WORD, not '$LABEL'"
NETWORK="$(network_of "$LABEL")"
HOSTS=()
for entry in "${WANTED[@]}"; do
    # For destroy a name is enough.
    [[ $VERB == destroy ]] && HOSTS+=("${entry%%:*}") && continue
    HOSTS+=("$(expand "$entry")")
done
"$VERB"
