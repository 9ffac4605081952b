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

# mirror SUFFIX DEFAULT: the machine's own address of Debian's archive, or of the security one ("-security").
mirror() {
    local uri
    # shellcheck disable=SC2016  # the words are apt's, not the shell's
    uri="$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
        awk -v wanted="$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")$1" \
            '$1 ~ /^https?:/ && $3 == "main" && $2 == wanted { print $1; exit }')"
    printf '%s\n' "${uri:-$2}"
}

bootstrap() {
    printf 'deb %s main\n' "$MAIN $SUITE" "$MAIN $SUITE-updates" "$SECURITY $SUITE-security" |
        nice mmdebstrap --mode=root --variant=essential --include="$PACKAGES" \
            "${LEFT_OUT[@]/#/--dpkgopt=path-exclude=}" "$SUITE" "$1.part.tar" -
    mv "$1.part.tar" "$1"
}

[[ $# -eq 1 ]] || usage_error "usage: root.sh ARCHIVE"
MAIN="$(mirror "" http://deb.debian.org/debian)"
SECURITY="$(mirror -security http://deb.debian.org/debian-security)"
with_heartbeat "building the root of the Vuls image with mmdebstrap (about 30 s)" bootstrap "$1" ||
    fail "mmdebstrap could not build $SUITE" "there is no image to put Vuls into" \
        "read the lines above; most often the Debian mirror is out of reach or the disk is full"
