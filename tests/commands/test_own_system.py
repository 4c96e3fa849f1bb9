"""`drill` and `demo` have services of their own, also where the settings name a live system."""

import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from commands.app import create
from commands.bench_world import own_system
from commands.console import CommandError
from commands.live import LiveSystem
from runtime.security import confluent_security
from runtime.settings import Settings

OTHERS = {
    "QUANTUM_KAFKA": "127.0.0.1:9",
    "QUANTUM_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "QUANTUM_KAFKA_SASL_USERNAME": "quantum",
    "QUANTUM_KAFKA_SASL_PASSWORD_FILE": "/nowhere/password",
    "QUANTUM_KAFKA_REPLICATION": "3",
    "QUANTUM_POSTGRES_PASSWORD_FILE": "/nowhere/password",
    "quantum_postgres": "postgresql://127.0.0.1:9/quantum",
}
"""A live system as the environment names it: settings are read in small letters, too."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, handlers: None) -> dict[str, Any]:
    """What a system would be started with, noted where it would be; nothing is started."""
    for name, value in OTHERS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("QUANTUM_DATA", str(tmp_path))
    monkeypatch.setenv("QUANTUM_KAFKA_PORT", "15999")
    noted: dict[str, Any] = {}

    def start(system: LiveSystem, *_: object, **__: object) -> None:
        noted.update(
            addresses=(system.kafka, system.postgres),
            services=[service.name for service in system._services],
            child={name.upper() for name in system.environment()} & set(map(str.upper, OTHERS)),
            security=confluent_security(),
            settings=system.settings,
        )
        raise CommandError("this is far enough")

    monkeypatch.setattr(LiveSystem, "start", start)
    return noted


@pytest.mark.parametrize("command", ["drill", "demo"])
def test_a_drill_and_a_demo_never_touch_the_services_of_the_settings(
    seen: dict[str, Any], command: str, tmp_path: Path
) -> None:
    before = dict(os.environ)
    found = CliRunner().invoke(create(command), [command, "--json"])
    assert "this is far enough" in found.stderr, found.output
    assert seen["addresses"] == ("", "")
    assert seen["services"] == ["kafka", "postgres"]
    assert seen["child"] == set()
    assert seen["security"] == {}
    assert seen["settings"].data == tmp_path
    assert seen["settings"].kafka_port == 15999, "the port of its own broker is as it was told"
    assert dict(os.environ) == before
    assert Settings.load().kafka == OTHERS["QUANTUM_KAFKA"]


def test_a_measured_system_has_a_folder_and_free_ports_besides(
    seen: dict[str, Any], tmp_path: Path
) -> None:
    before = dict(os.environ)
    with pytest.raises(CommandError, match="far enough"), own_system("latency", None):
        pass
    assert seen["services"] == ["kafka", "postgres"]
    assert seen["child"] == set()
    assert seen["settings"].data == tmp_path / "bench"
    assert seen["settings"].kafka_port is None
    assert dict(os.environ) == before
