#!/usr/bin/env bash
# Builds the base images of the test hosts: Debian 12 and 13 that boot systemd.
# Usage: images.sh [build | tags]
# An image is named after its recipe (scripts/images/ and the apt sources); the same recipe is never built twice,
# and its archive stays in the cache directory for the day the engine's own storage is gone.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly RECIPE=$SCRIPTS/images

# content_tag SUITE: the image's name, from everything that decides what is in it.
content_tag() {
    local hash
    hash="$({
        apt_sources "$1"
        cd "$RECIPE" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    } | sha12)"
    printf 'vuls-live/base:%s-%s\n' "$1" "$hash"
}

bootstrap() {
    apt_sources "$1" | "$RECIPE/bootstrap.sh" "$1" "$2"
}

build() {
    local suite="$1" tag archive
    tag="$(content_tag "$suite")"
    if ! docker image inspect "$tag" >/dev/null 2>&1; then
        archive="$(image_archive "$tag")"
        if [[ ! -s $archive ]]; then
            with_heartbeat "building $tag with mmdebstrap (about 30 s)" bootstrap "$suite" "$archive" ||
                fail "mmdebstrap could not build $suite" "there is no base image for the hosts" \
                    "read the lines above; most often the Debian mirror is out of reach or the disk is full"
        fi
        log "importing $tag"
        docker import --change 'CMD ["/lib/systemd/systemd"]' "$archive" "$tag" >/dev/null
    fi
    docker tag "$tag" "$(base_image "$suite")"
}

build_all() {
    local suite status=0 jobs=() tags=("${SUITES[@]}")
    for suite in "${SUITES[@]}"; do
        tags+=("$(content_tag "$suite" | cut -d: -f2)")
    done
    # Package lists of an old archive point at packages that the mirror no longer has, so the current one goes as well.
    prune_images vuls-live/base "${tags[@]}"
    for suite in "${SUITES[@]}"; do
        build "$suite" &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do
        wait "$job" || status=1
    done
    ((status == 0)) && log "base images are ready"
    return "$status"
}

case ${1:-build} in
build)
    as_root "$@"
    need_engine
    mkdir -p "$CACHE/images"
    exec 9>"$CACHE/images/.lock"
    flock 9
    build_all
    ;;
tags) for suite in "${SUITES[@]}"; do content_tag "$suite"; done ;;
*) usage_error "usage: images.sh [build | tags]" ;;
esac
