#!/usr/bin/env bash
# make test: everything that must hold, part by part, each with a time budget; prints a table, the slowest parts,
# and, last, why parts failed.
# Usage: test.sh [--all] [PART...]     (test.sh --list names them; each part's output stays in .local/log/test/)
# --all adds the parts and the end-to-end tests that are too long for make test.
# Refuses to start over the local stack. Whatever happens, it removes what it created, by label, and stops the
# engine if it started it.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Part and budget in seconds, in the order in which they begin: what fails fast comes first. Lint runs beside the unit tests.
readonly PARTS=(
    "lint 400"
    "unit-web-app 180"
    "unit-executor 600"
    "unit-page 60"
    "unit-vuls 150"
    "scripts 1500"
    "integration-web-app 2100"
    "integration-page 700"
    "chaos 900"
    "integration-executor 900"
    "integration-vuls 200"
    "perf-smoke 90"
    "molecule-default 3300"
)
readonly LONG_PARTS=(
    "scripts-long 1500"
    "perf 2400"
    "chaos-long 3600"
    "executor-long 1200"
    "worker-long 1200"
    "molecule-single 1800"
    "redis-ha 1500"
    "edge 3600"
    "molecule-debian 3300"
    "molecule-production 3600"
    "molecule-ha 3600"
    "molecule-recovery 3600"
    "molecule-upgrade 9000"
)
readonly SERVICES_LABEL=test-run
# Processes that share the tests of scripts, and the integration tests of the web application, where each has services of
# its own: both kinds mostly wait.
readonly PROCESSES=2
readonly LOGS=$LOCAL/log/test

# start_services WORKER: services of its own for a process of pytest-xdist, which names it gw0, gw1 and so on.
start_services() {
    local services
    services="$("$SCRIPTS/test_services.sh" start --label "$SERVICES_LABEL-$1")"
    eval "$(sed -E "s/^(export [A-Z_]+)=/\1_$1=/" <<<"$services")"
}

stop_services() {
    local number
    "$SCRIPTS/test_services.sh" stop --label "$SERVICES_LABEL" || true
    for ((number = 0; number < PROCESSES; number++)); do
        "$SCRIPTS/test_services.sh" stop --label "$SERVICES_LABEL-gw$number" || true
    done
}

# run_part NAME: its output and exit status are the part's.
run_part() {
    local venvs="$LOCAL/venvs" services
    export PATH="$ROOT/.venv/bin:$PATH"
    cd "$ROOT"
    case $1 in
    lint) "$SCRIPTS/lint.sh" ;;
    unit-web-app) cd services/web-app && "$venvs/web-app/bin/pytest" -m "not integration" --durations=5 ;;
    unit-executor) cd services/docker-executor && "$venvs/docker-executor/bin/pytest" -m "not engine" --durations=5 ;;
    unit-page) npm test --silent ;;
    scripts)
        mkdir -p "$LOCAL/perf" "$LOCAL/artifacts" # one process looks whether preflight makes anything, another writes there
        # What takes longest alone comes first.
        pytest -q -p no:cacheprovider --numprocesses="$PROCESSES" --dist=loadfile --no-loadscope-reorder -m "not long" \
            --durations=5 tests/scripts/test_other_debian.py tests/edge tests/scripts tests/runbooks tests/perf roles/app_release/tests \
            roles/rollout/tests
        ;;
    scripts-long) pytest -q -p no:cacheprovider -m long --durations=5 tests/scripts ;;
    unit-vuls) cd scripts/vuls && pytest -q --durations=5 ;;
    integration-web-app)
        local number status=0
        for ((number = 0; number < PROCESSES; number++)); do
            start_services "gw$number"
        done
        cd services/web-app
        "$venvs/web-app/bin/pytest" --numprocesses="$PROCESSES" --dist=loadfile -m "integration and not chaos and not long" \
            --durations=5 --ignore=tests/page || status=$?
        stop_services # the next parts measure
        return "$status"
        ;;
    integration-page | chaos | chaos-long | worker-long)
        services="$("$SCRIPTS/test_services.sh" start --label "$SERVICES_LABEL")"
        eval "$services"
        cd services/web-app
        case $1 in
        # The browser's driver keeps an event loop in its thread, so its tests have a process of their own.
        integration-page) "$venvs/web-app/bin/pytest" -m integration --durations=5 tests/page ;;
        # These stop the services that all tests share.
        chaos) "$venvs/web-app/bin/pytest" -m "chaos and not long" --durations=5 --ignore=tests/page ;;
        chaos-long) "$venvs/web-app/bin/pytest" -m "chaos and long" --durations=5 --ignore=tests/page ;;
        worker-long) "$venvs/web-app/bin/pytest" -m "long and not chaos" --durations=5 --ignore=tests/page ;;
        esac
        ;;
    integration-executor)
        cd services/docker-executor && "$venvs/docker-executor/bin/pytest" -m "engine and not long" --durations=5
        ;;
    executor-long) cd services/docker-executor && "$venvs/docker-executor/bin/pytest" -m long --durations=5 ;;
    integration-vuls) cd scripts/vuls && pytest -q -m engine --durations=5 ;;
    perf-smoke)
        services="$("$SCRIPTS/test_services.sh" start --label "$SERVICES_LABEL")"
        eval "$services"
        python -m tests.perf.fanout --smoke
        ;;
    perf) LABEL="$SERVICES_LABEL" tests/perf/run.sh 7 "$LOGS/performance.md" ;;
    edge) pytest -q -rP -p no:cacheprovider --durations=5 tests/edge ;;
    redis-ha) pytest -q -p no:cacheprovider --durations=5 tests/redis_ha ;;
    molecule-debian) env -u VULS_TEST_LONG molecule test --scenario-name debian ;;
    molecule-*) molecule test --scenario-name "${1#molecule-}" ;;
    esac
}

# The process of each part that runs now.
declare -A RUNNING=()
# start PART BUDGET: runs a part in a process group of its own, so that nothing of it outlives its budget.
start() {
    log "--- $1 (at most $2 s)"
    rm -f "$LOGS/$1.seconds"
    {
        local began=$SECONDS status=0 part=""
        trap '[[ -z $part ]] || { kill -TERM "$part"; wait "$part"; } 2>/dev/null || true; exit 143' TERM
        timeout --kill-after=15 "$2" "$0" --run-part "$1" > >(tee "$LOGS/$1.log") 2>&1 &
        part=$!
        wait "$part" || status=$?
        printf '%d\n' "$((SECONDS - began))" >"$LOGS/$1.seconds"
        exit "$status"
    } &
    RUNNING[$1]=$!
}

# finish PART BUDGET: waits for it, and notes how it ended.
finish() {
    local status=0 verdict=passed seconds
    wait "${RUNNING[$1]}" || status=$?
    seconds="$(cat "$LOGS/$1.seconds" 2>/dev/null || echo 0)"
    unset "RUNNING[$1]"
    case $status in
    0) ;;
    124 | 137) verdict="FAILED: took longer than its budget" ;;
    *) verdict="FAILED: exit status $status" ;;
    esac
    RESULTS+=("$(printf '%-22s %6d %7d  %s' "$1" "$seconds" "$2" "$verdict")")
    [[ $verdict == passed ]] || FAILED+=("$1")
}

clean_up() {
    trap - EXIT INT TERM
    if ((${#RUNNING[@]})); then
        kill -TERM "${RUNNING[@]}" 2>/dev/null || true
        wait "${RUNNING[@]}" 2>/dev/null || true
    fi
    if engine_answers; then
        stop_services
        "$SCRIPTS/stack.sh" destroy --label "$SERVICES_LABEL" || true
        "$SCRIPTS/stack.sh" destroy --label test-redis-ha || true
        "$SCRIPTS/stack.sh" destroy --label test-edge || true
        "$SCRIPTS/stack.sh" destroy --label molecule || true
        "$SCRIPTS/stack.sh" destroy --label test-single || true
        "$SCRIPTS/stack.sh" destroy --label test-production || true
        "$SCRIPTS/stack.sh" destroy --label test-preflight || true
        "$SCRIPTS/stack.sh" destroy --label test-fence || true
        "$SCRIPTS/stack.sh" destroy --label test-firewall || true
        "$SCRIPTS/stack.sh" destroy --label test-debian || true
    fi
    ((ENGINE_WAS_UP)) || "$SCRIPTS/engine.sh" stop || true
}

# reasons LOG: the last lines of a part's log that say why it failed, or its end where no line does. Few and short,
# because whoever reads the output of a build often sees nothing but its end.
reasons() {
    local text words='fatal|FAILED|FAIL |ERROR|Error|not ok|✖'
    text="$(sed -E 's/\x1b\[[0-9;?]*[A-Za-z]//g; s/\r//g; s/[[:space:]]+$//; /^$/d' "$1")"
    { grep -aE -- "$words" <<<"$text" || tail -n 3 <<<"$text"; } |
        awk '!seen[$0]++' | tail -n 8 | cut -c1-158 | sed 's/^/  /'
}

report() {
    local part
    printf '\n%-22s %6s %7s  %s\n' part seconds budget result
    printf '%s\n' "${RESULTS[@]}"
    printf '\nThe slowest five:\n'
    printf '%s\n' "${RESULTS[@]}" | sort -k2,2nr | head -n 5 | awk '{ printf "  %-22s %6d s\n", $1, $2 }'
    for part in "${FAILED[@]}"; do
        printf '\n%s failed (all of it: %s):\n' "$part" "${LOGS#"$ROOT"/}/$part.log"
        reasons "$LOGS/$part.log"
    done
    printf '\n%d passed, %d failed\n' "$((${#RESULTS[@]} - ${#FAILED[@]}))" "${#FAILED[@]}"
}

KNOWN=()
for entry in "${PARTS[@]}" "${LONG_PARTS[@]}"; do
    KNOWN+=("${entry% *}")
done
ALL=0
case ${1:-} in
--list)
    printf '%s\n' "${KNOWN[@]}"
    exit
    ;;
--run-part)
    run_part "${2:?}"
    exit
    ;;
--reasons)
    reasons "${2:?}"
    exit
    ;;
--all)
    ALL=1
    export VULS_TEST_LONG=1 # end-to-end tests that take too long for make test
    shift
    ;;
esac
WANTED=("$@")
(($#)) || WANTED=("${KNOWN[@]:0:ALL ? ${#KNOWN[@]} : ${#PARTS[@]}}")
for part in "${WANTED[@]}"; do
    [[ " ${KNOWN[*]} " == *" $part "* ]] || usage_error "there is no part '$part'; known: ${KNOWN[*]}"
done

"$SCRIPTS/preflight.sh" --label molecule
as_root "${WANTED[@]}"
RESULTS=() FAILED=() ENGINE_WAS_UP=0
engine_answers && ENGINE_WAS_UP=1
trap clean_up EXIT
trap 'exit 130' INT TERM
mkdir -p "$LOGS"
"$SCRIPTS/prepare.sh" --tests
"$SCRIPTS/engine.sh" start
"$SCRIPTS/images.sh" build
"$SCRIPTS/vuls/build.sh"
beside="" # the budget of lint, while it runs beside the unit tests: most of its time is one check's, on one core
for entry in "${PARTS[@]}" "${LONG_PARTS[@]}"; do
    read -r part budget <<<"$entry"
    [[ " ${WANTED[*]} " == *" $part "* ]] || continue
    if [[ -n $beside && $part != unit-* ]]; then
        finish lint "$beside"
        beside=""
    fi
    start "$part" "$budget"
    if [[ $part == lint ]]; then beside=$budget; else finish "$part" "$budget"; fi
done
[[ -z $beside ]] || finish lint "$beside"
clean_up
report
exit "$((${#FAILED[@]} > 0))"
