#!/bin/sh
# bootstrap.sh SUITE ARCHIVE: builds the test host's file system; the apt sources come on standard input.
# Everything in this directory is part of the image's name: change a file and the image is built anew.
set -eu
recipe="$(dirname "$0")"
# The lists stay in the image, so that a host can install without apt-get update.
nice mmdebstrap --mode=root --variant=minbase --skip=cleanup/apt/lists \
    --include="$(paste -sd, "$recipe/packages.txt")" \
    --customize-hook="$recipe/customize.sh" \
    "$1" "$2.part.tar" -
mv "$2.part.tar" "$2"
