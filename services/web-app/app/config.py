"""Settings of every process of this package, read from the environment and from secret files."""

import os
import re
from functools import lru_cache
from typing import Annotated, Literal, Self
from urllib.parse import quote

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from app.domain import names

Component = Literal["web", "scheduler", "worker", "cli"]


class Settings(BaseSettings):
    """What a process needs to know about its place in the system.

    Values come from `VULS_*` environment variables; a secret comes from a file of the field's name in the folder that
    `VULS_SECRETS_DIR` names, so that it is in no environment and on no command line.
    """

    model_config = SettingsConfigDict(env_prefix="VULS_", extra="ignore")

    component: Component = "cli"
    instance: str = Field(default="local:1", description="`<host>:<number>` of a web instance; sent as X-Vuls-Instance")
    instances: int = Field(default=0, ge=0, le=99, description="web instances that belong on this host; for vulsctl")
    zone: str = Field(default="default", pattern=names.ZONE)
    release_id: str = "development"

    database_host: str = Field(
        default="localhost", description="or several, with commas: the one of them that takes writes is used"
    )
    database_port: int = 5432
    database_name: str = "vuls"
    database_user: str = "vuls_web"
    database_password: SecretStr = SecretStr("")
    database_sslmode: Literal["disable", "require", "verify-ca", "verify-full"] = "verify-full"
    database_ca: str | None = None
    database_pool_size: int = Field(default=8, ge=1, le=100)

    redis_host: str = "localhost"
    redis_port: int = 6379
    redis_user: str = "web"
    redis_password: SecretStr = SecretStr("")
    redis_tls: bool = True
    redis_ca: str | None = None
    redis_database: int = 0
    redis_sentinels: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="`host:port` of every Sentinel, which name the primary; none: Redis is `redis_host`"
    )
    redis_sentinel_primary: str = Field(default="vuls", description="the name under which Sentinel watches the primary")
    redis_sentinel_user: str = "client"
    redis_sentinel_password: SecretStr = SecretStr("")

    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    http_socket: str = "/run/vuls-web-1/http.sock"
    admin_socket: str = "/run/vuls-web-1/admin/admin.sock"
    accept_manual_notifications: bool = Field(
        default=False, description="show channel messages without an id (sent by hand) to administrators"
    )
    manual_notifications_per_second: float = Field(default=5, gt=0)

    session_lifetime: int = Field(default=12 * 3600, description="seconds from login to forced sign-in")
    session_idle: int = Field(default=2 * 3600, description="seconds without a request after which a session ends")
    login_attempts: int = Field(default=10, description="failed logins of a user or an address in `login_window`")
    login_window: int = Field(default=300, description="seconds")

    log_poll_interval: float = Field(default=2.0, gt=0, le=5, description="seconds between reads without a wake-up")
    event_retention_days: int = Field(
        default=30, ge=1, le=3650, description="days that events are kept, by whole weeks"
    )
    run_log_retention_days: int = Field(default=14, ge=1, le=3650, description="days that the logs of runs are kept")
    scan_retention_days: int = Field(
        default=90, ge=1, le=3650, description="days that scans are kept which newer ones of their host have replaced"
    )
    digest_rate: float = Field(default=50, gt=0, description="events a second above which updates are merged")
    permission_recheck_interval: float = Field(
        default=4.0, gt=0, le=5, description="seconds; the comparison itself takes a moment, and five are promised"
    )
    heartbeat_interval: float = Field(
        default=15.0, gt=0, le=15, description="seconds between heartbeats to a client, which gives up after 45 without"
    )
    replay_limit: int = Field(default=1000, description="events replayed to a client before it is told to resync")
    ring_size: int = Field(default=2000, ge=1, description="events kept in memory for clients that lag")
    client_buffer: int = Field(
        default=64 * 1024, ge=1024, description="bytes waiting for one client above which it is caught up later"
    )
    slow_client_seconds: float = Field(
        default=30.0, gt=0, description="seconds with a full buffer after which a client is closed, 4008"
    )
    deflate: bool = Field(default=False, description="compress for sockets that offer it; not with adopt_sockets off")
    adopt_sockets: bool = Field(default=True, description="serve sockets on bare transports; else through ASGI")
    connections_per_user: int = Field(default=50, ge=1, description="sockets and event streams of a user, an instance")
    connections_per_address: int = Field(
        default=1000, ge=1, description="the same of an address, which may be a network"
    )
    max_message: int = Field(default=4096, ge=4, description="bytes of a message that a client may send")
    messages_per_window: int = Field(
        default=60, ge=1, description="messages that a client may send in `message_window`"
    )
    message_window: float = Field(default=10.0, gt=0, description="seconds")
    reconnects_per_second: float = Field(default=200, gt=0, description="clients that a drain sends away in a second")
    handshake_timeout: float = Field(default=5.0, gt=0, description="seconds")

    executor_socket: str = "/run/vuls-executor/executor.sock"
    executor_api_key: SecretStr = SecretStr("")
    scan_deadline: int = Field(default=3 * 3600, description="seconds a scan may take from job to result")
    store_patience: int = Field(
        default=24 * 3600,
        ge=1,
        description="seconds that the end of a scan waits for a database that is away; the executor keeps its result"
        " as long (VULS_EXECUTOR_RETENTION_HOURS)",
    )
    heartbeat_seconds: float = Field(default=10.0, gt=0, description="seconds between lease renewals of a run")
    lease_seconds: float = Field(default=20.0, gt=0, description="seconds a run stays with a silent worker")
    vulnerability_database_max_age: int = Field(
        default=14, ge=0, le=3650, description="days; matched against an older one, a host is not assessed; 0: any age"
    )
    visibility_timeout: int = Field(default=4 * 3600, description="seconds; above the longest scan")

    scheduler_tick: float = Field(default=0.5, gt=0, description="seconds between looks at the database")
    resend_after: float = Field(default=10.0, gt=0, description="seconds until an unclaimed job is sent again; doubles")
    misfire_grace: int = Field(default=3600, description="seconds a missed due time may be late and still fire")
    zone_limits: dict[Annotated[str, Field(pattern=names.ZONE)], Annotated[int, Field(ge=1)]] = Field(
        default={}, description="JSON: scans that go on at once in a zone, at most; no limit in those not named"
    )
    hypervisor_group_limit: int = Field(
        default=2, ge=0, description="the same of hosts that share a hypervisor; 0: no limit"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read secrets from files that are named as the fields are, without the variables' prefix."""
        secrets = SecretsSettingsSource(settings_cls, os.environ.get("VULS_SECRETS_DIR"), env_prefix="")
        return init_settings, env_settings, secrets

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(origin.strip().rstrip("/") for origin in value.split(",") if origin.strip())
        return value

    @field_validator("redis_sentinels", mode="before")
    @classmethod
    def _split_sentinels(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(address.strip() for address in value.split(",") if address.strip())
        return value

    @field_validator("redis_sentinels")
    @classmethod
    def _check_sentinels(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@;\[\]]+):\d{1,5}", address):
                raise ValueError(
                    f"'{address}' is not host:port; write redis_sentinels like redis-1:26379,redis-2:26379"
                )
        return addresses

    @field_validator("database_host")
    @classmethod
    def _check_hosts(cls, value: str) -> str:
        hosts = [host.strip() for host in value.split(",")]
        if not all(re.fullmatch(names.ADDRESS, host) for host in hosts) or len(set(hosts)) < len(hosts):
            raise ValueError(
                f"database_host ({value!r}) must name one host, or several different ones with a comma between them."
                " libpq would take an empty name for a Unix socket."
            )
        return ",".join(hosts)

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if self.lease_seconds <= self.heartbeat_seconds:
            raise ValueError(
                f"lease_seconds ({self.lease_seconds:g}) must be above heartbeat_seconds ({self.heartbeat_seconds:g}):"
                " a run would be taken from a worker that is well. Two heartbeats are usual."
            )
        if self.scan_deadline >= self.visibility_timeout:
            raise ValueError(
                f"scan_deadline ({self.scan_deadline}) must be below visibility_timeout ({self.visibility_timeout}):"
                " Redis would deliver the job of a running scan again."
            )
        return self

    @property
    def secrets(self) -> tuple[str, ...]:
        """What may never be shown: the passwords and keys that this process has."""
        values = (
            self.executor_api_key, self.database_password, self.redis_password, self.redis_sentinel_password,
        )  # fmt: skip
        return tuple(value.get_secret_value() for value in values if value.get_secret_value())

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL for psycopg, password included. Never log it.

        Of several hosts libpq takes the first that accepts writes, so a connection is made to a replica only once that
        has been promoted. The time limit is for each host.
        """
        hosts = self.database_host.split(",")
        query = (
            f"host={','.join(hosts)}&port={','.join([str(self.database_port)] * len(hosts))}"
            f"&target_session_attrs=read-write&sslmode={self.database_sslmode}&connect_timeout=5"
            f"&application_name=vuls-{self.component}"
        )
        if self.database_ca:
            query += f"&sslrootcert={quote(self.database_ca, safe='')}"
        password = quote(self.database_password.get_secret_value(), safe="")
        credentials = f"{quote(self.database_user, safe='')}:{password}"
        return f"postgresql+psycopg://{credentials}@/{self.database_name}?{query}"

    @property
    def database_dsn(self) -> str:
        """The same for psycopg itself. Never log it."""
        return self.database_url.replace("+psycopg", "", 1)

    @property
    def redis_sentinel_addresses(self) -> tuple[tuple[str, int], ...]:
        """The Sentinels as host and port."""
        return tuple(
            (host.strip("[]"), int(port)) for host, _, port in (entry.rpartition(":") for entry in self.redis_sentinels)
        )

    @property
    def redis_url(self) -> str:
        """URL for redis-py and kombu, password included. Never log it.

        It leads to `redis_host`. Where there are Sentinels that may be a replica: `app.utils.redis_client` follows the
        primary.
        """
        scheme = "rediss" if self.redis_tls else "redis"
        password = quote(self.redis_password.get_secret_value(), safe="")
        credentials = f"{quote(self.redis_user, safe='')}:{password}"
        url = f"{scheme}://{credentials}@{self.redis_host}:{self.redis_port}/{self.redis_database}"
        if self.redis_tls:
            url += "?ssl_cert_reqs=required"
            if self.redis_ca:
                url += f"&ssl_ca_certs={quote(self.redis_ca, safe='')}"
        return url


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return this process's settings, read once.

    Raises:
        pydantic.ValidationError: a variable has a value that cannot be right; the message names it.
    """
    return Settings()
