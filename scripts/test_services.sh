#!/usr/bin/env bash
# A real PostgreSQL and a real Redis for tests, in one throw-away container, on loopback ports.
# Usage: eval "$(scripts/test_services.sh start [--label LABEL])"; test_services.sh stop [--label LABEL]
# start prints (for the shell, on standard output):
#   VULS_TEST_DATABASE_URL       PostgreSQL superuser
#   VULS_TEST_REDIS_URL          Redis, every command allowed
#   VULS_TEST_SERVICES_CONTAINER the container, for tests that stop a service
# Started again, it prints the same and changes nothing. The label is test, or test-WORD for a pair of one's own.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly SETUP=$SCRIPTS/test_services/setup.sh

# build IMAGE: a base host with both services installed, committed as an image.
build() {
    local builder="vuls-test-services-builder-$$"
    host_arguments "$builder" trixie test-builder
    # shellcheck disable=SC2064  # the name is known now
    trap "docker rm --force --volumes $builder >/dev/null 2>&1 || true" EXIT
    docker run --detach "${ARGUMENTS[@]}" "$(base_image trixie)"
    wait_for_boot "$builder"
    docker exec --interactive "$builder" sh <"$SETUP"
    docker stop "$builder"
    docker commit "$builder" "$1"
}

start() {
    local image postgres redis password
    image="vuls-live/test-services:$({
        docker image inspect --format '{{.Id}}' "$(base_image trixie)"
        cat "$SETUP"
    } | sha12)"
    if ! docker image inspect "$image" >/dev/null 2>&1; then
        (with_heartbeat "building $image" build "$image") ||
            fail "the image of the test services could not be built" "integration tests cannot run" \
                "read the lines above; run scripts/images.sh build first"
        prune_images vuls-live/test-services "${image#*:}"
    fi
    if [[ $(docker container inspect --format '{{.State.Status}}' "$NAME" 2>/dev/null) != running ]]; then
        docker rm --force --volumes "$NAME" >/dev/null 2>&1 || true
        password="$(python3 -c 'import secrets; print(secrets.token_urlsafe(18))')"
        host_arguments "$NAME" trixie "$LABEL"
        docker run --detach "${ARGUMENTS[@]}" --env "PASSWORD=$password" \
            --publish 127.0.0.1::5432 --publish 127.0.0.1::6379 "$image" >/dev/null
        wait_for_boot "$NAME"
        # Both read their password from standard input: it never stands in a list of processes.
        docker exec --interactive --user postgres "$NAME" psql --quiet <<<"ALTER ROLE postgres PASSWORD '$password'"
        docker exec --interactive "$NAME" sh -c 'cat >/etc/redis/test-password.conf && systemctl restart redis-server' \
            <<<"requirepass $password"
    fi
    password="$(docker exec "$NAME" printenv PASSWORD)"
    postgres="$(docker port "$NAME" 5432/tcp)"
    redis="$(docker port "$NAME" 6379/tcp)"
    printf 'export %s\n' \
        "VULS_TEST_DATABASE_URL=postgresql://postgres:$password@$postgres/postgres" \
        "VULS_TEST_REDIS_URL=redis://:$password@$redis/0" \
        "VULS_TEST_SERVICES_CONTAINER=$NAME"
}

stop() {
    if [[ $(docker container inspect --format "{{index .Config.Labels \"$STACK_LABEL\"}}" "$NAME" 2>/dev/null) == "$LABEL" ]]; then
        docker rm --force --volumes "$NAME" >/dev/null
    fi
    log "no test services of '$LABEL' run"
}

readonly VERB="${1:-}"
[[ $VERB =~ ^(start|stop)$ ]] || usage_error "usage: test_services.sh start | stop [--label LABEL]"
as_root "$@"
LABEL="test"
[[ $# -eq 3 && $2 == --label ]] && LABEL="$3"
[[ $LABEL =~ ^test(-[a-z0-9-]+)?$ ]] || usage_error "--label is test or test-WORD, not '$LABEL'"
readonly LABEL NAME="vuls-services-$LABEL"
need_engine
"$VERB"
