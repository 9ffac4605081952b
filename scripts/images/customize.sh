#!/bin/sh
# mmdebstrap's last hook: turns the fresh system in $1 into a test host. The recipe lies beside this file.
set -eu
root="$1"
recipe="$(dirname "$0")"
# Files belong to root and are readable whatever the checkout's owner and umask are.
tar -C "$recipe/overlay" --owner=0 --group=0 --mode=u=rwX,go=rX -c . | tar -C "$root" -x
chroot "$root" systemctl --quiet set-default multi-user.target
chroot "$root" systemctl --quiet enable vuls-live-apt-archives.service
while read -r unit; do
    ln -sfn /dev/null "$root/etc/systemd/system/$unit"
done <"$recipe/masked-units.txt"
# How old the lists are, in the place where Ansible's apt module looks first (the configuration renews it).
install -d "$root/var/lib/apt/periodic"
touch "$root/var/lib/apt/periodic/update-success-stamp"
# Every host gets a machine id and a name of its own when it starts.
: >"$root/etc/machine-id"
rm -f "$root/etc/hostname"
