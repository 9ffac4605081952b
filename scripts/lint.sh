#!/usr/bin/env bash
# make lint: every static check, at once; prints the seconds of each and the whole output of those that fail.
# Usage: lint.sh [CHECK...]     (lint.sh --list names them)
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly CHECKS=(ruff-check ruff-format mypy-web-app mypy-executor mypy-tests imports yamllint ansible-lint shellcheck tsc)

# shell_files: the shell files of the checkout, by name or by first line.
shell_files() {
    git ls-files --cached --others --exclude-standard -z | while IFS= read -r -d '' file; do
        [[ -f $file && ! -L $file ]] || continue
        if [[ $file == *.sh ]] || { [[ ${file##*/} != *.* ]] && head -c 64 "$file" | grep -qaE '^#!.*\b(ba)?sh$'; }; then
            printf '%s\0' "$file"
        fi
    done
}

# The services are checked with what they run with: the packages of their own locks.
run_check() {
    local venvs="$LOCAL/venvs"
    export PATH="$ROOT/.venv/bin:$PATH"
    cd "$ROOT"
    case $1 in
    ruff-check) ruff check --no-fix . ;;
    ruff-format) ruff format --check . ;;
    mypy-web-app) cd services/web-app && "$venvs/web-app/bin/mypy" --strict ;;
    mypy-executor) cd services/docker-executor && "$venvs/docker-executor/bin/mypy" --strict ;;
    mypy-tests) mypy --strict tests ;;
    imports) cd services/web-app && "$venvs/web-app/bin/lint-imports" --no-cache ;;
    yamllint) yamllint --strict . ;;
    ansible-lint) ansible-lint --offline --nocolor ;;
    shellcheck) shell_files | xargs -0 shellcheck --external-sources --source-path=SCRIPTDIR ;;
    tsc) npm run --silent check ;;
    esac
}

timed() {
    local began=$SECONDS status=0
    run_check "$1" >"$OUTPUT/$1.log" 2>&1 || status=$?
    printf '%s %s\n' "$status" "$((SECONDS - began))" >"$OUTPUT/$1.result"
}

if [[ ${1:-} == --list ]]; then
    printf '%s\n' "${CHECKS[@]}"
    exit
fi
WANTED=("$@")
(($#)) || WANTED=("${CHECKS[@]}")
for check in "${WANTED[@]}"; do
    [[ " ${CHECKS[*]} " == *" $check "* ]] || usage_error "there is no check '$check'; known: ${CHECKS[*]}"
done
as_root "$@"
"$SCRIPTS/prepare.sh" --tests
OUTPUT="$(mktemp -d)"
trap 'rm -rf "$OUTPUT"' EXIT
for check in "${WANTED[@]}"; do
    timed "$check" &
done
wait
failed=0
for check in "${WANTED[@]}"; do
    read -r status seconds <"$OUTPUT/$check.result"
    if ((status == 0)); then
        printf 'ok    %-14s %4ds\n' "$check" "$seconds"
    else
        failed=$((failed + 1))
        printf 'FAIL  %-14s %4ds  (exit status %s)\n' "$check" "$seconds" "$status"
        sed 's/^/      /' "$OUTPUT/$check.log"
    fi
done
((failed == 0)) || fail "$failed of ${#WANTED[@]} checks failed" "the code does not hold to the style of the project" \
    "mend what is listed above; scripts/lint.sh NAME runs one check alone"
