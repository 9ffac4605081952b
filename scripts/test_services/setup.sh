#!/bin/sh
# Runs inside a fresh test host and turns it into the image of the test services. Passwords are set at every start.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get install --yes --no-install-recommends postgresql redis-server
version="$(ls /etc/postgresql)"
cat >"/etc/postgresql/$version/main/conf.d/test.conf" <<'CONF'
listen_addresses = '*'
max_connections = 200
# Throw-away data: speed instead of durability.
fsync = off
full_page_writes = off
synchronous_commit = off
CONF
printf 'host all all all scram-sha-256\n' >>"/etc/postgresql/$version/main/pg_hba.conf"
cat >>/etc/redis/redis.conf <<'CONF'
bind 0.0.0.0
save ""
maxmemory-policy noeviction
include /etc/redis/test-password.conf
CONF
printf '\n' >/etc/redis/test-password.conf
mkdir -p /etc/systemd/system/redis-server.service.d
# User namespaces are out of reach in these containers.
printf '[Service]\nPrivateUsers=no\n' >/etc/systemd/system/redis-server.service.d/container.conf
systemctl daemon-reload
systemctl restart "postgresql@$version-main" redis-server
