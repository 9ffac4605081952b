#!/usr/bin/env bash
# Builds the small Debian root that the Vuls image begins with, as an archive.
# Usage: root.sh ARCHIVE
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

readonly SUITE=trixie
# ssh, its keyscan and its keygen are what Vuls calls; Python runs the stand-in for the report.
readonly PACKAGES=openssh-client,ca-certificates,libpython3-stdlib,python3-minimal
# What nobody in the container reads. It halves the image, which is saved and loaded again.
readonly LEFT_OUT=(
    "/usr/share/doc/*" "/usr/share/info/*" "/usr/share/locale/*" "/usr/share/man/*"
    "/usr/lib/*/gconv/*" "/usr/lib/python3*/pydoc_data/*" "/usr/lib/python3*/unittest/*"
)

bootstrap() {
    apt_sources "$SUITE" |
        nice mmdebstrap --mode=root --variant=essential --include="$PACKAGES" \
            "${LEFT_OUT[@]/#/--dpkgopt=path-exclude=}" "$SUITE" "$1.part.tar" -
    mv "$1.part.tar" "$1"
}

[[ $# -eq 1 ]] || usage_error "usage: root.sh ARCHIVE"
with_heartbeat "building the root of the Vuls image with mmdebstrap (about 30 s)" bootstrap "$1" ||
    fail "mmdebstrap could not build $SUITE" "there is no image to put Vuls into" \
        "read the lines above; most often the Debian mirror is out of reach or the disk is full"
