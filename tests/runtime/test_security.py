"""Secrets come from files that nobody else may read; every refusal names setting, file, remedy."""

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.security import (
    confluent_security,
    postgres_secret,
    read_secret,
    sasl_login,
    tls_context,
)
from runtime.settings import ROOT, Settings, SettingsError
from tests.streams.secured import SecuredKafka

NAME = "QUANTUM_KAFKA_SASL_PASSWORD_FILE"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("QUANTUM_")]:
        monkeypatch.delenv(name)


def secret(folder: Path, text: str = "s3cret\n", mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_a_secret_is_the_line_in_its_file(tmp_path: Path, mode: int) -> None:
    assert read_secret(secret(tmp_path, mode=mode), NAME) == "s3cret"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666, 0o602])
def test_a_secret_that_everybody_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = secret(tmp_path, mode=mode)
    with pytest.raises(SettingsError) as raised:
        read_secret(path, NAME)
    text = str(raised.value)
    assert f"{NAME}={path}" in text
    assert "chmod o-rwx" in text
    assert "s3cret" not in text


def test_a_secret_that_is_not_there_or_no_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        read_secret(tmp_path / "nothing", NAME)
    with pytest.raises(SettingsError, match="it is no regular file"):
        read_secret(tmp_path, NAME)
    with pytest.raises(SettingsError, match="holds 0 lines"):
        read_secret(secret(tmp_path, "\n"), NAME)
    with pytest.raises(SettingsError, match="holds 2 lines"):
        read_secret(secret(tmp_path, "a\nb\n"), NAME)


def test_what_is_no_file_is_refused_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingsError, match=r"pipe cannot be used: it is no regular file"):
        read_secret(tmp_path / "pipe", NAME)


def test_tls_files_that_cannot_be_used_are_named_with_their_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, shared = tmp_path / "good", tmp_path / "shared"
    for path, mode in ((good, 0o600), (shared, 0o644)):
        path.write_text("no certificate")
        path.chmod(mode)
    tls = {"kafka": "h:1", "kafka_security_protocol": "SSL"}
    for values, said in (
        ({"kafka_ca_file": "/nope"}, "QUANTUM_KAFKA_CA_FILE=/nope cannot be read: No such file"),
        (
            {"kafka_cert_file": str(good), "kafka_key_file": str(shared)},
            f"QUANTUM_KAFKA_KEY_FILE={shared} cannot be used: everybody on this machine may read",
        ),
        ({"kafka_ca_file": str(good)}, "the certificates for Kafka cannot be used"),
    ):
        with monkeypatch.context() as patched, pytest.raises(SettingsError) as raised:
            confluent_security(settings(patched, **tls, **values))
        assert said in str(raised.value)


NOBODY = 65534


def test_a_secret_of_another_user_is_refused(tmp_path: Path) -> None:
    path = secret(tmp_path, mode=0o000)
    was = os.geteuid()
    if was == 0:  # root reads everything
        os.seteuid(NOBODY)
    try:
        with pytest.raises(SettingsError, match="cannot be read: Permission denied"):
            read_secret(path, NAME)
    finally:
        os.seteuid(was)


def settings(monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(f"QUANTUM_{name}", value)
    return Settings.load()


def test_an_open_broker_needs_nothing() -> None:
    assert confluent_security() == {}
    assert tls_context(Settings.load()) is None
    assert sasl_login(Settings.load()) is None
    assert postgres_secret() == {}


def test_sasl_over_tls_sets_protocol_mechanism_login_and_authority(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broker = SecuredKafka(tmp_path / "kafka")
    broker.make_secrets()
    known = settings(
        monkeypatch,
        KAFKA="broker:9093",
        KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        KAFKA_SASL_USERNAME="trader",
        KAFKA_SASL_PASSWORD_FILE=str(secret(tmp_path)),
        KAFKA_CA_FILE=str(broker.ca_file),
    )
    assert confluent_security(known) == {
        "security.protocol": "SASL_SSL",
        "enable.ssl.certificate.verification": True,
        "ssl.endpoint.identification.algorithm": "https",
        "ssl.ca.location": str(broker.ca_file),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "trader",
        "sasl.password": "s3cret",
    }
    assert sasl_login(known) == ("SCRAM-SHA-512", "trader", "s3cret")
    assert tls_context(known) is not None


def test_certificates_are_verified_unless_names_are_said_to_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = settings(monkeypatch, KAFKA="broker:9093", KAFKA_SECURITY_PROTOCOL="SSL")
    context = tls_context(known)
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    known = settings(monkeypatch, KAFKA_VERIFY_HOSTNAME="false")
    context = tls_context(known)
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)
    assert confluent_security(known)["ssl.endpoint.identification.algorithm"] == "none"


def test_postgres_password_comes_from_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("QUANTUM_POSTGRES_PASSWORD_FILE", str(secret(tmp_path)))
    assert postgres_secret() == {"password": "s3cret"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "SSL"}, "embedded broker"),
        (
            {"KAFKA": "b:1", "KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
            "needs QUANTUM_KAFKA_SASL_USERNAME",
        ),
        (
            {
                "KAFKA": "b:1",
                "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
                "KAFKA_SASL_USERNAME": "u",
            },
            "needs QUANTUM_KAFKA_SASL_PASSWORD_FILE",
        ),
        ({"KAFKA_CERT_FILE": "/c"}, "set both"),
        ({"KAFKA_REPLICATION": "2", "KAFKA_MIN_INSYNC": "3"}, "nothing could ever be written"),
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, "QUANTUM_KAFKA_SECURITY_PROTOCOL=TLS"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        settings(monkeypatch, **values)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "words",
    [
        ["streams.worker", "risk", "--folder", "{folder}"],
        ["streams.feed", "--folder", "{folder}"],
        [
            "projections.worker",
            "--folder",
            "{folder}",
            "--postgres",
            "postgresql://x@127.0.0.1:1/x",
        ],
    ],
    ids=lambda words: words[0],
)
def test_a_process_that_cannot_use_its_secret_ends_with_one_line(
    tmp_path: Path, words: list[str]
) -> None:
    path = secret(tmp_path, mode=0o644)
    done = subprocess.run(
        [sys.executable, "-m", *(word.format(folder=tmp_path) for word in words)],
        env={
            "PYTHONPATH": str(ROOT),
            "QUANTUM_KAFKA": "127.0.0.1:1",
            "QUANTUM_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "QUANTUM_KAFKA_SASL_USERNAME": "trader",
            "QUANTUM_KAFKA_SASL_PASSWORD_FILE": str(path),
            "QUANTUM_POSTGRES_PASSWORD_FILE": str(path),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"FILE={path} cannot be used: everybody on this machine may read it" in line
