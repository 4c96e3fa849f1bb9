"""Settings come from QUANTUM_* variables; a wrong one gives one line that names it."""

import os
from pathlib import Path

import pytest

from runtime.settings import ROOT, Settings, SettingsError, default_cache


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("QUANTUM_")]:
        monkeypatch.delenv(name)


def test_without_variables_everything_is_embedded_and_lies_in_the_checkout() -> None:
    settings = Settings.load()
    assert settings.kafka is None
    assert settings.postgres is None
    assert settings.data == ROOT / "var"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTUM_KAFKA", "")
    assert Settings.load().kafka is None


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("QUANTUM_KAFKA", "somewhere", "host:port"),
        ("QUANTUM_KAFKA", "host:99999", "host:port"),
        ("QUANTUM_POSTGRES", "mysql://x", "postgresql://"),
        ("QUANTUM_POSTGRES", "postgresql://[::1/x", "postgresql://"),
        ("QUANTUM_POSTGRES", "postgresql://h:many/x", "postgresql://"),
        ("QUANTUM_KAFKA_PORT", "0", "greater than or equal to 1"),
        ("QUANTUM_POSTGRES_PORT", "many", "integer"),
        ("QUANTUM_LOG_LEVEL", "LOUD", "'DEBUG'"),
    ],
)
def test_a_wrong_value_gives_one_line_with_name_value_and_reason(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        Settings.load()
    text = str(raised.value)
    assert f"{name}={value}" in text
    assert reason in text
    assert "\n" not in text


def test_the_cache_is_the_users_where_there_is_a_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "quantum-trader"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "quantum-trader"


def test_without_a_usable_home_the_cache_lies_in_the_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    assert default_cache() == ROOT / "var" / "cache"
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert default_cache() == ROOT / "var" / "cache"


def test_a_password_in_a_wrong_value_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTUM_POSTGRES", "postgre://u:topsecret@h/x")
    with pytest.raises(SettingsError) as raised:
        Settings.load()
    assert "QUANTUM_POSTGRES=postgre://...@h/x cannot be used" in str(raised.value)
