"""How clients prove who they are: TLS and SASL for every Kafka client, Postgres' password.

Secrets come from files only, and a file that others may read is refused: a password that a
neighbour can read is no secret, and one on a command line stands in every process list.
"""

import ssl
import stat
from pathlib import Path
from typing import Any

from runtime.settings import Settings, SettingsError

MAX_BYTES = 64_000


def read_secret(path: Path, setting: str) -> str:
    """The one line in a secret's file, without its line end.

    Raises SettingsError, naming setting, file and remedy: if it cannot be read, others may read it,
    it is empty, or it holds more than one line.
    """
    named = f"{setting}={path}"
    raw = _read(path, setting, secret=True)
    try:
        text = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise SettingsError(f"{named} cannot be used: it is no text in UTF-8.") from None
    if not text or "\n" in text:
        lines = text.count("\n") + 1 if text else 0
        raise SettingsError(f"{named} cannot be used: it holds {lines} lines, one is wanted.")
    return text


def _read(path: Path, setting: str, *, secret: bool) -> bytes:
    named = f"{setting}={path}"
    try:
        about = path.stat()  # before it is opened: a pipe would wait for its writer
        if not stat.S_ISREG(about.st_mode):
            raise SettingsError(f"{named} cannot be used: it is no regular file.")
        mode = stat.S_IMODE(about.st_mode)
        if secret and mode & stat.S_IRWXO:
            raise SettingsError(
                f"{named} cannot be used: everybody on this machine may read it (mode {mode:04o}, "
                "at most 0640 is taken). Run chmod o-rwx on it, and change what it holds if it was "
                "shared."
            )
        with path.open("rb") as file:
            return file.read(MAX_BYTES)
    except OSError as error:
        raise SettingsError(
            f"{named} cannot be read: {error.strerror}. Correct the path, or give the file to the "
            "user this runs as."
        ) from None


def confluent_security(settings: Settings | None = None) -> dict[str, Any]:
    """What every confluent-kafka client sets beside its servers; nothing for an open broker.

    Raises SettingsError for a secret that cannot be used.
    """
    known = settings or Settings.load()
    protocol = known.kafka_security_protocol
    if protocol == "PLAINTEXT":
        return {}
    made: dict[str, Any] = {"security.protocol": protocol}
    if protocol.endswith("SSL"):
        tls_context(known)  # refuses what cannot be used; librdkafka names neither file nor setting
        made["enable.ssl.certificate.verification"] = True
        made["ssl.endpoint.identification.algorithm"] = (
            "https" if known.kafka_verify_hostname else "none"
        )
        for name, path in (
            ("ssl.ca.location", known.kafka_ca_file),
            ("ssl.certificate.location", known.kafka_cert_file),
            ("ssl.key.location", known.kafka_key_file),
        ):
            if path is not None:
                made[name] = str(path)
    if protocol.startswith("SASL"):
        made["sasl.mechanism"] = known.kafka_sasl_mechanism
        made["sasl.username"] = known.kafka_sasl_username
        made["sasl.password"] = _sasl_password(known)
    return made


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The same TLS as a context, for clients in Python; None where the protocol has none.

    Raises SettingsError for a certificate that cannot be used, and for a key that others may read.
    """
    if not settings.kafka_security_protocol.endswith("SSL"):
        return None
    for setting, path in (
        ("QUANTUM_KAFKA_CA_FILE", settings.kafka_ca_file),
        ("QUANTUM_KAFKA_CERT_FILE", settings.kafka_cert_file),
        ("QUANTUM_KAFKA_KEY_FILE", settings.kafka_key_file),
    ):
        if path is not None:
            _read(path, setting, secret=path is settings.kafka_key_file)
    try:
        context = ssl.create_default_context(
            cafile=str(settings.kafka_ca_file) if settings.kafka_ca_file else None
        )
        if settings.kafka_cert_file:
            context.load_cert_chain(settings.kafka_cert_file, settings.kafka_key_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"the certificates for Kafka cannot be used: {error}. See QUANTUM_KAFKA_CA_FILE, "
            "QUANTUM_KAFKA_CERT_FILE and QUANTUM_KAFKA_KEY_FILE."
        ) from None
    context.check_hostname = settings.kafka_verify_hostname
    return context


def sasl_login(settings: Settings) -> tuple[str, str, str] | None:
    """Mechanism, user and password; None where the protocol has no SASL. Raises SettingsError."""
    if not settings.kafka_security_protocol.startswith("SASL"):
        return None
    mechanism, user = settings.kafka_sasl_mechanism, settings.kafka_sasl_username
    assert user is not None
    return mechanism, user, _sasl_password(settings)


def postgres_secret() -> dict[str, Any]:
    """The password for psycopg beside a URI without one; empty if no file is named.

    Raises SettingsError for a file that cannot be used.
    """
    path = Settings.load().postgres_password_file
    if path is None:
        return {}
    return {"password": read_secret(path, "QUANTUM_POSTGRES_PASSWORD_FILE")}


def _sasl_password(settings: Settings) -> str:
    path = settings.kafka_sasl_password_file
    assert path is not None
    return read_secret(path, "QUANTUM_KAFKA_SASL_PASSWORD_FILE")
