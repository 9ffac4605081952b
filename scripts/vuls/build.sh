#!/usr/bin/env bash
# Builds the Vuls image of the local stack and the archive that goes to the scan hosts.
# Usage: build.sh [--binary PROGRAM | --image IMAGE]     (or VULS_BINARY=PROGRAM, VULS_IMAGE=IMAGE in the environment)
# --binary takes a whole Vuls program, --image an image that has one on its path. Without them Vuls is built from
# source: whole where that is possible, else its scan half with the stand-in for the report (see README.md).
# Leaves: image vuls-live/vuls:local (also under a tag named after its content), .local/artifacts/vuls-image.tar and,
# beside it, vuls-image.tag with the content's tag. Nothing happens when nothing changed.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

readonly HERE=$SCRIPTS/vuls
readonly STORE=$CACHE/vuls
readonly IMAGE=vuls-live/vuls
readonly ARTIFACT=$LOCAL/artifacts/vuls-image.tar

# recipe: a line for every file that decides what is in an image built here.
recipe() {
    cd "$HERE"
    find build.sh program.sh root.sh go.txt image demo_report -type f -not -name '*.pyc' -print0 |
        LC_ALL=C sort -z | xargs -0 sha256sum
}

# parts: what an image is made of, each built once for each version of its recipe.
# Sets ROOT_ARCHIVE, and PROGRAM with KIND unless a binary was given.
parts() {
    local root_job=
    ROOT_ARCHIVE="$STORE/root-$(sha12 <"$HERE/root.sh").tar"
    if [[ ! -s $ROOT_ARCHIVE ]]; then
        "$HERE/root.sh" "$ROOT_ARCHIVE" &
        root_job=$!
    fi
    PROGRAM="$BINARY" KIND=whole
    if [[ -z $BINARY ]]; then
        PROGRAM="$STORE/program-$(cat "$HERE/program.sh" "$HERE/go.txt" | sha12)"
        [[ -s $PROGRAM/kind ]] || "$HERE/program.sh" "$PROGRAM"
        KIND="$(<"$PROGRAM/kind")"
        PROGRAM="$PROGRAM/vuls"
    fi
    [[ -z $root_job ]] || wait "$root_job"
}

# compose ARCHIVE: the root plus what is ours, as one archive.
compose() {
    local stage="$WORK/stage"
    install -d "$stage/etc/vuls" "$stage/job" "$stage/db" "$stage/usr/local/bin" "$stage/usr/local/lib/vuls"
    if [[ $KIND == whole ]]; then
        install -m 0755 "$PROGRAM" "$stage/usr/local/bin/vuls"
    else
        install -m 0755 "$PROGRAM" "$stage/usr/local/lib/vuls/vuls-scanner"
        install -m 0755 "$HERE/image/vuls" "$stage/usr/local/bin/vuls"
        install -d "$stage/usr/local/lib/vuls/demo_report"
        install -m 0644 "$HERE"/demo_report/*.py "$stage/usr/local/lib/vuls/demo_report/"
    fi
    cp "$ROOT_ARCHIVE" "$WORK/image.tar"
    # The engine refuses an archive that names anything twice: only what the root does not have is added.
    tar --append --file="$WORK/image.tar" --owner=0 --group=0 --sort=name --directory="$stage" \
        etc/vuls job db usr/local/bin/vuls usr/local/lib/vuls
    mv "$WORK/image.tar" "$1"
}

# build_image TAG: from the archive in the cache, or from its parts.
build_image() {
    local archive
    archive="$(image_archive "$1")"
    if [[ ! -s $archive ]]; then
        parts
        compose "$archive"
    fi
    log "importing $1"
    # The entry point is that of the image that Vuls's authors publish, so that callers need not know which it is.
    docker import --change 'ENTRYPOINT ["vuls"]' --change 'CMD ["-help"]' --change 'USER 10001:10001' \
        --change 'LABEL vuls-live.image=vuls' "$archive" "$1" >/dev/null
}

# find_adopted: makes sure that somebody else's image is here.
find_adopted() {
    [[ -n $(image_id "$ADOPTED") ]] || docker pull "$ADOPTED" ||
        fail "image $ADOPTED can be neither found nor pulled" "there is no Vuls to scan with" \
            "load it with docker load, or call without VULS_IMAGE to build Vuls from source"
}

content_tag() {
    if [[ -n $ADOPTED ]]; then
        printf '%s:%s\n' "$IMAGE" "$(image_id "$ADOPTED" | sha12)"
    else
        printf '%s:%s\n' "$IMAGE" "$({ recipe; [[ -z $BINARY ]] || cat "$BINARY"; } | sha12)"
    fi
}

# image_id TAG: empty when there is no such image.
image_id() {
    docker image inspect --format '{{.Id}}' "$1" 2>/dev/null || true
}

# save TAG: the archive for the scan hosts, unless it is this very image already.
save() {
    local state
    state="$(printf '%s\n' "$1" "$(image_id "$1")")"
    [[ -s $ARTIFACT && -f $ARTIFACT.state && $(<"$ARTIFACT.state") == "$state" ]] && return
    log "saving $1 ($(docker image inspect --format '{{.Size}}' "$1" | numfmt --to=si)B)"
    install -d -m 0700 "$LOCAL"
    mkdir -p "${ARTIFACT%/*}"
    docker save --output "$ARTIFACT.part" "$IMAGE:local" "$1"
    mv "$ARTIFACT.part" "$ARTIFACT"
    printf '%s\n' "$1" >"${ARTIFACT%.tar}.tag"
    printf '%s\n' "$state" >"$ARTIFACT.state"
}

[[ $# -gt 0 || -z ${VULS_BINARY:-} ]] || set -- --binary "$VULS_BINARY"
[[ $# -gt 0 || -z ${VULS_IMAGE:-} ]] || set -- --image "$VULS_IMAGE"
BINARY="" ADOPTED=""
case $#:${1:-} in
0:) ;;
2:--binary)
    BINARY="$(realpath -e "$2")" || usage_error "there is no program $2"
    ;;
2:--image) ADOPTED="$2" ;;
*) usage_error "usage: build.sh [--binary PROGRAM | --image IMAGE]" ;;
esac
as_root "$@"
need_engine
mkdir -p "$STORE" "$CACHE/images"
exec 9>"$STORE/.lock"
flock 9
[[ -z $ADOPTED ]] || find_adopted
TAG="$(content_tag)"
if [[ -z $(image_id "$TAG") ]]; then
    WORK="$(mktemp -d "$STORE/image.XXXXXX")"
    trap 'rm -rf "$WORK"' EXIT
    if [[ -n $ADOPTED ]]; then docker tag "$ADOPTED" "$TAG"; else build_image "$TAG"; fi
fi
[[ $(image_id "$TAG") == "$(image_id "$IMAGE:local")" ]] || docker tag "$TAG" "$IMAGE:local"
save "$TAG"
prune_images "$IMAGE" local "${TAG#*:}"
log "$IMAGE:local is $TAG"
