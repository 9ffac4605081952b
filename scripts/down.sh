#!/usr/bin/env bash
# make down: removes the local stack: containers, network, volumes, and the engine if it was started by make up.
# Caches, images and .local/ stay, so that the next make up is quick.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($# == 0)) || usage_error "usage: down.sh"
as_root "$@"
"$SCRIPTS/stack.sh" destroy --label local
"$SCRIPTS/engine.sh" stop
