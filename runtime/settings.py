"""Settings from the environment (`QUANTUM_*`); the defaults need nothing but this checkout."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: the folder that holds `quantum` and all rooms."""

Port = Annotated[int, Field(ge=1, le=65535)]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class SettingsError(ValueError):
    """A setting has a value that cannot be used; the text names it, the value and the remedy."""


def _servers(value: str) -> str:
    for server in value.split(","):
        host, colon, port = server.strip().rpartition(":")
        if not (host and colon and port.isdigit() and 1 <= int(port) <= 65535):
            raise ValueError("expected host:port, several separated by commas")
    return value


def postgres_uri(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("postgresql", "postgres") and parts.port != 0
    except ValueError:  # a port that is no number, brackets that are not closed
        usable = False
    if not usable:
        raise ValueError("expected postgresql://user:password@host:port/database")
    return value


def _shown(value: object) -> str:
    """A value for people; of what stands before an `@`, a password maybe, nothing."""
    before, at, after = str(value).rpartition("@")
    return f"{before.partition('://')[0]}://...@{after}" if at else before + after


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/quantum-trader` or `~/.cache/quantum-trader`, if it can be written to.

    Without a home that can be written to: `var/cache` of this checkout.
    """
    base = os.environ.get("XDG_CACHE_HOME") or ""
    if not base and (home := os.environ.get("HOME")):
        base = str(Path(home) / ".cache")
    if base and Path(base).is_absolute():
        folder = Path(base) / "quantum-trader"
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
            return folder
    return ROOT / "var" / "cache"


class Settings(BaseSettings):
    """All settings of a run. An empty variable counts as unset.

    kafka: bootstrap servers `host:port[,host:port]`, or None for the embedded broker.
    postgres: a URI `postgresql://…`, or None for the embedded server.
    data: folder of all state of this checkout. cache: folder of what one user downloads once.
    kafka_port, postgres_port: fixed ports of the embedded services, 1-65535, or None for free
    ones (Postgres then listens on a Unix socket only).
    kafka_security_protocol and what follows it: how clients prove who they are to a broker that is
    not the embedded one; secrets are files (runtime/security.py). kafka_replication (1-9) and
    kafka_min_insync (1-9): of topics that `topics apply` makes; None: three copies where there are
    three brokers, and the broker's own minimum.
    health_host: address that `/health` and `/metrics` are served on.
    """

    model_config = SettingsConfigDict(
        env_prefix="QUANTUM_", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    kafka: Annotated[str, AfterValidator(_servers)] | None = None
    postgres: Annotated[str, AfterValidator(postgres_uri)] | None = None
    data: Annotated[Path, AfterValidator(Path.absolute)] = ROOT / "var"
    cache: Annotated[Path, AfterValidator(Path.absolute)] = Field(default_factory=default_cache)
    kafka_port: Port | None = None
    postgres_port: Port | None = None
    log_level: LogLevel = "INFO"
    kafka_security_protocol: Protocol = "PLAINTEXT"
    kafka_sasl_mechanism: Mechanism = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password_file: Path | None = None
    kafka_ca_file: Path | None = None
    kafka_cert_file: Path | None = None
    kafka_key_file: Path | None = None
    kafka_verify_hostname: bool = True
    kafka_replication: Annotated[int, Field(ge=1, le=9)] | None = None
    kafka_min_insync: Annotated[int, Field(ge=1, le=9)] | None = None
    postgres_password_file: Path | None = None
    health_host: str = "127.0.0.1"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Settings that only make sense together are refused when one is missing."""
        protocol = self.kafka_security_protocol
        if protocol != "PLAINTEXT" and self.kafka is None:
            raise ValueError(
                f"QUANTUM_KAFKA_SECURITY_PROTOCOL={protocol} cannot be used: the embedded broker "
                "has no such listener. Set QUANTUM_KAFKA to your broker, or unset it."
            )
        needed = ("kafka_sasl_username", "kafka_sasl_password_file")
        for name in needed if protocol.startswith("SASL") else ():
            if getattr(self, name) is None:
                raise ValueError(
                    f"QUANTUM_KAFKA_SECURITY_PROTOCOL={protocol} cannot be used: it needs "
                    f"QUANTUM_{name.upper()}. Set it."
                )
        if (self.kafka_cert_file is None) != (self.kafka_key_file is None):
            raise ValueError(
                "QUANTUM_KAFKA_CERT_FILE and QUANTUM_KAFKA_KEY_FILE cannot be used alone: set both."
            )
        copies, insync = self.kafka_replication, self.kafka_min_insync
        if copies is not None and insync is not None and insync > copies:
            raise ValueError(
                f"QUANTUM_KAFKA_MIN_INSYNC={insync} cannot be used: it is more than "
                f"QUANTUM_KAFKA_REPLICATION={copies}, so nothing could ever be written."
            )
        return self

    @classmethod
    def load(cls) -> Self:
        """The settings of this process's environment. Raises SettingsError, one line."""
        try:
            return cls()
        except ValidationError as error:
            problem = error.errors()[0]
            if not problem["loc"]:
                raise SettingsError(problem["msg"].removeprefix("Value error, ")) from None
            name = "QUANTUM_" + "_".join(str(part) for part in problem["loc"][:1]).upper()
            reason = problem["msg"].removeprefix("Value error, ")
            raise SettingsError(
                f"{name}={_shown(problem['input'])} cannot be used: {reason}. Correct or unset it."
            ) from None
