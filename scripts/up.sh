#!/usr/bin/env bash
# make up: from a bare machine to the running local stack. Run again, it changes nothing.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($# == 0)) || usage_error "usage: up.sh"
"$SCRIPTS/preflight.sh"
as_root "$@"
"$SCRIPTS/prepare.sh"
"$SCRIPTS/engine.sh" start

# The images of the hosts and of Vuls need nothing of each other.
"$SCRIPTS/vuls/build.sh" &
vuls_build=$!
trap 'kill "$vuls_build" 2>/dev/null || true' EXIT
status=0
"$SCRIPTS/images.sh" build && "$SCRIPTS/stack.sh" create --label local || status=1
wait "$vuls_build" || status=1
((status == 0)) || fail "an image or a host could not be made" "there is nothing to deploy to" \
    "read the error above; run make up again when it is mended, it goes on where it stopped"

log "deploying: ansible-playbook -i inventories/local site.yml"
cd "$ROOT"
PATH="$ROOT/.venv/bin:$PATH" ansible-playbook -i inventories/local site.yml ||
    fail "the deployment failed" "the stack is up, but not all of it works" \
        "read the failed task above; make status shows what is ill, make up tries again"

log "done"
printf '\n  URL:      https://localhost:%s/   (certificate authority: .local/ca.crt)\n' "$HTTPS_PORT"
printf '  User:     admin\n  Password: in .local/admin-password\n\n'
