"""Every hop is encrypted, verified, and gives each component only what it needs."""

import datetime as dt
import re
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from . import stack

REAL_REDIS_CLI = "/usr/bin/redis-cli"
CA_ON_HOST = "/etc/vuls/pki/ca.crt"
LOOPBACK = re.compile(r"^(127\.|\[::1\]|\[::ffff:127\.)")
# Ports that people or other hosts may reach, and what speaks there.
EXPECTED_LISTENERS = {
    "vuls-lb": {443},
    "vuls-web-1": {8441, 8442},
    "vuls-web-2": {8441, 8442},
    "vuls-redis": {6379},
    "vuls-db": {5432},
    "vuls-worker": set(),
    "vuls-target-1": {22},
    "vuls-target-2": {22},
}
# Who may call (the firewall lets nobody else through), whom, and on which port.
TLS_PORTS = [
    ("vuls-worker", "vuls-lb", 443),
    ("vuls-lb", "vuls-web-1", 8441),
    ("vuls-lb", "vuls-web-2", 8442),
    ("vuls-worker", "vuls-redis", 6379),
]


def redis(host: str, *arguments: str, user: str = "", password: str = "", tls: bool = True) -> str:
    """Call the real redis-cli on a host, not the documented wrapper, and return everything it says."""
    options = ["-h", "vuls-redis", *(["--tls", "--cacert", CA_ON_HOST] if tls else [])]
    login = ["--user", user] if user else []
    environment = f"REDISCLI_AUTH={password}" if password else "NOTHING=1"
    result = stack.on(host, "env", environment, REAL_REDIS_CLI, *options, *login, "--no-auth-warning", *arguments)
    return result.stdout + result.stderr


def secret(host: str, path: str) -> str:
    return stack.must(stack.on(host, "cat", path)).strip()


@pytest.fixture(scope="module")
def worker_password() -> str:
    return secret("vuls-worker", "/etc/vuls/worker-default/secrets/redis_password")


@pytest.fixture(scope="module")
def foreign_ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA and a leaf that look right and are not ours."""
    folder = tmp_path_factory.mktemp("foreign")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "vuls-lb")])
    today = dt.datetime.now(dt.UTC)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    (folder / "leaf.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder


def test_redis_refuses_plain_text(worker_password: str) -> None:
    """Refused is the missing TLS and nothing else: the same call with it is answered."""
    assert "PONG" not in redis("vuls-worker", "ping", user="worker-default", password=worker_password, tls=False)
    assert "PONG" in redis("vuls-worker", "ping", user="worker-default", password=worker_password)


def test_redis_refuses_a_client_without_a_password() -> None:
    assert "NOAUTH" in redis("vuls-worker", "ping")


def test_redis_refuses_a_wrong_password() -> None:
    assert "WRONGPASS" in redis("vuls-worker", "ping", user="worker-default", password="wrong")


@pytest.mark.parametrize(
    "command",
    [
        ["GET", "scan.other"],
        ["LPUSH", "scan.other", "x"],
        ["BRPOP", "scan.other", "1"],
        ["HGETALL", "unacked.other"],
        ["SUBSCRIBE", "task_notifications"],
        ["CONFIG", "GET", "*"],
        ["ACL", "LIST"],
        ["FLUSHALL"],
        ["KEYS", "*"],
        ["SHUTDOWN"],
        ["MONITOR"],
    ],
    ids=" ".join,
)
def test_a_zones_worker_may_not_do_what_is_not_its_work(worker_password: str, command: list[str]) -> None:
    said = redis("vuls-worker", *command, user="worker-default", password=worker_password)
    assert "NOPERM" in said, said


@pytest.mark.parametrize(
    "command", [["LPUSH", "scan.default", "x"], ["GET", "x"], ["ACL", "LIST"], ["FLUSHDB"]], ids=" ".join
)
def test_the_web_user_may_not_do_the_schedulers_work(command: list[str]) -> None:
    password = secret("vuls-web-1", "/etc/vuls/web/secrets/redis_password")
    said = redis("vuls-worker", *command, user="web", password=password)
    assert "NOPERM" in said, said


def psql(host: str, user: str, password: str, statement: str, sslmode: str = "verify-full") -> str:
    """Ask PostgreSQL from a host, through the driver that the release brings, and return rows or the refusal."""
    program = (
        "import os, sys, psycopg\n"
        "try:\n"
        "    with psycopg.connect(host='vuls-db', dbname='vuls', user=sys.argv[1],\n"
        "                         password=sys.stdin.readline().strip(),\n"
        f"                         sslmode=sys.argv[2], sslrootcert='{CA_ON_HOST}', connect_timeout=30) as c:\n"
        "        print(c.execute(sys.argv[3]).fetchall())\n"
        "except psycopg.Error as error:\n"
        "    print('refused:', error)\n"
    )
    python = "/opt/vuls/current/venv/bin/python"
    result = stack.on(host, python, "-c", program, user, sslmode, statement, stdin=password + "\n")
    return result.stdout + result.stderr


def test_postgresql_refuses_plain_text() -> None:
    password = secret("vuls-web-1", "/etc/vuls/web/secrets/database_password")
    assert "refused" in psql("vuls-web-1", "vuls_web", password, "SELECT 1", sslmode="disable")
    assert "[(1,)]" in psql("vuls-web-1", "vuls_web", password, "SELECT 1")


def test_postgresql_refuses_a_wrong_password() -> None:
    assert "refused" in psql("vuls-web-1", "vuls_web", "wrong", "SELECT 1")


@pytest.mark.parametrize(
    "statement",
    ["SELECT * FROM app_user", "SELECT * FROM user_session", "SELECT * FROM api_token", "DELETE FROM run RETURNING id",
     "CREATE TABLE x (y int)", "UPDATE event SET seq = 1 RETURNING id", "SELECT pg_read_file('/etc/passwd')"],
)  # fmt: skip
def test_the_workers_role_reaches_its_own_tables_only(statement: str) -> None:
    password = secret("vuls-worker", "/etc/vuls/worker-default/secrets/database_password")
    assert "permission denied" in psql("vuls-worker", "vuls_worker_default", password, statement)


def test_a_worker_sees_no_host_of_another_zone() -> None:
    password = secret("vuls-worker", "/etc/vuls/worker-default/secrets/database_password")
    stack.sql(
        "INSERT INTO host (id, name, address, zone) VALUES (4242, 'elsewhere', '192.0.2.1', 'other')"
        " ON CONFLICT DO NOTHING"
    )
    try:
        assert "elsewhere" not in psql("vuls-worker", "vuls_worker_default", password, "SELECT name FROM host")
    finally:
        stack.sql("DELETE FROM host WHERE id = 4242")


@pytest.mark.parametrize("host", EXPECTED_LISTENERS)
def test_nothing_listens_beyond_its_host_but_the_documented_ports(host: str) -> None:
    listening = set()
    for line in stack.shell(host, "ss -H -ltnu state all 2>/dev/null || ss -H -ltn").splitlines():
        fields = line.split()
        local = next(field for field in fields if re.search(r":\d+$", field))
        address, _, port = local.rpartition(":")
        if "LISTEN" in line and not LOOPBACK.match(address):
            listening.add(int(port))
    assert listening == EXPECTED_LISTENERS[host]


@pytest.mark.parametrize(("origin", "host", "port"), TLS_PORTS)
def test_a_client_that_trusts_another_ca_refuses_our_servers(
    origin: str, host: str, port: int, foreign_ca: Path
) -> None:
    stack.must(stack.run("docker", "cp", str(foreign_ca / "ca.crt"), f"{origin}:/var/tmp/foreign-ca.crt"))
    said = stack.on(
        origin,
        "sh",
        "-c",
        f"echo | openssl s_client -connect {host}:{port} -verify_return_error -CAfile /var/tmp/foreign-ca.crt 2>&1",
    )
    assert "verif" in said.stdout.lower()
    assert said.returncode != 0
    ours = stack.on(
        origin,
        "sh",
        "-c",
        f"echo | openssl s_client -connect {host}:{port} -verify_return_error"
        f" -verify_hostname {host} -CAfile {CA_ON_HOST} 2>&1",
    )
    assert "Verify return code: 0" in ours.stdout or "Verification: OK" in ours.stdout


def test_postgresql_with_another_ca_is_refused(foreign_ca: Path) -> None:
    stack.must(stack.run("docker", "cp", str(foreign_ca / "ca.crt"), "vuls-worker:/var/tmp/foreign-ca.crt"))
    said = stack.shell(
        "vuls-worker",
        "echo | openssl s_client -starttls postgres -connect vuls-db:5432 -verify_return_error"
        " -CAfile /var/tmp/foreign-ca.crt 2>&1 || true",
    )
    assert "verify error" in said.lower()


def health_of_instance(origin: str, host: str, certificate: str) -> str:
    """Ask a web host's TLS port for its health from another host, and return all that came back."""
    request = "printf 'GET /health HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n'"
    # -quiet keeps it reading after the request's end, until the web host closes.
    client = f"openssl s_client -quiet -connect {host}:8441 -CAfile {CA_ON_HOST} -verify_return_error"
    said = stack.on(origin, "sh", "-c", f"{request} | timeout 30 {client} {certificate} 2>&1")
    return said.stdout


@pytest.mark.parametrize("host", stack.WEB_HOSTS)
def test_a_web_host_answers_balancers_only(host: str, foreign_ca: Path) -> None:
    """Refused: no certificate, one of another CA, and a server's certificate of our own CA.

    All from the balancer, since the firewall lets nobody else come so far.
    """
    for name in ("ca.crt", "leaf.key"):
        stack.must(stack.run("docker", "cp", str(foreign_ca / name), f"vuls-lb:/var/tmp/foreign-{name}"))
    for kind in ("crt", "key"):
        servers = stack.must(stack.on("vuls-redis", "cat", f"/etc/vuls/pki/vuls-redis.{kind}"))
        stack.must(stack.on("vuls-lb", "sh", "-c", f"umask 077; cat > /var/tmp/redis.{kind}", stdin=servers))

    def given(name: str) -> str:
        return f"-cert {name}.crt -key {name}.key"

    try:
        assert "200 OK" in health_of_instance("vuls-lb", host, given("/etc/vuls/pki/vuls-lb")), "the balancer's own"
        for certificate in (
            "",
            "-cert /var/tmp/foreign-ca.crt -key /var/tmp/foreign-leaf.key",
            given("/var/tmp/redis"),
        ):
            assert "200 OK" not in health_of_instance("vuls-lb", host, certificate), certificate
    finally:
        stack.must(stack.on("vuls-lb", "sh", "-c", "rm -f /var/tmp/redis.* /var/tmp/foreign-*"))


def test_old_tls_is_refused_at_the_edge() -> None:
    context = ssl.create_default_context(cafile=str(stack.CA))
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)), socket.create_connection(("localhost", stack.PORT)) as raw:
        context.wrap_socket(raw, server_hostname="localhost")
