"""The embedded database: what was committed survives kill -9, at the same address."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import psycopg
import pytest

from runtime.postgres import EmbeddedPostgres
from runtime.processes import ServiceError, free_port


def _execute(server: EmbeddedPostgres, statement: str) -> None:
    with psycopg.connect(server.uri) as connection:
        connection.execute(statement)


def _value(server: EmbeddedPostgres, query: str) -> object:
    with psycopg.connect(server.uri) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_committed_rows_survive_kill_9_even_with_a_connection_open(short_path: Path) -> None:
    server = EmbeddedPostgres(short_path / "postgres")
    server.start()
    try:
        address, pid = server.uri, server.pid
        _execute(server, "CREATE TABLE kept AS SELECT 42 AS answer")
        held = psycopg.connect(server.uri)
        server.kill()
        assert not server.is_running()
        server.start()
        held.close()
        assert server.uri == address
        assert server.pid != pid
        assert _value(server, "SELECT answer FROM kept") == 42
    finally:
        server.stop()
    assert server.pid is None


def test_it_syncs_to_disk_and_is_no_superuser_of_the_system(postgres: EmbeddedPostgres) -> None:
    assert _value(postgres, "SHOW fsync") == "on"
    assert postgres.pid is not None
    assert Path(f"/proc/{postgres.pid}").stat().st_uid != 0


def test_two_servers_side_by_side_one_in_a_folder_too_deep_for_a_socket(
    short_path: Path, postgres: EmbeddedPostgres
) -> None:
    deep = EmbeddedPostgres(short_path / ("deep" * 25) / "postgres")
    try:
        deep.start()
        assert _value(deep, "SELECT 1") == 1
        assert _value(postgres, "SELECT 1") == 1
        assert deep.uri != postgres.uri
        sockets = _value(deep, "SHOW unix_socket_directories")
        assert len(os.fsencode(str(sockets))) < 90
    finally:
        deep.stop()
    assert not Path(str(sockets)).exists()


def test_with_a_port_it_answers_on_loopback_to_those_who_know_the_password(
    short_path: Path,
) -> None:
    port = free_port()
    server = EmbeddedPostgres(short_path / "postgres", port=port)
    try:
        server.start()
        assert f"@127.0.0.1:{port}/" in server.uri
        assert _value(server, "SELECT 1") == 1
        stranger = f"postgresql://postgres:guess@127.0.0.1:{port}/postgres"
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(stranger)
    finally:
        server.stop()


def test_a_port_that_is_taken_is_named_with_its_remedy(short_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError) as raised:
            EmbeddedPostgres(short_path / "postgres", port=port).start()
    assert f"Port {port} " in str(raised.value)
    assert "QUANTUM_POSTGRES_PORT" in str(raised.value)


def test_a_lock_file_of_a_process_id_that_was_given_to_another_is_overcome(
    short_path: Path,
) -> None:
    server = EmbeddedPostgres(short_path / "postgres")
    server.prepare()
    stale = f"{os.getpid()}\n{server.data}\n1\n5432\n\n\n1 1\nready\n"
    (server.data / "postmaster.pid").write_text(stale)
    shutil.chown(server.data / "postmaster.pid", server.data.owner(), server.data.group())
    try:
        server.start()
        assert _value(server, "SELECT 1") == 1
    finally:
        server.stop()


def test_an_interrupted_set_up_is_done_anew(short_path: Path) -> None:
    server = EmbeddedPostgres(short_path / "postgres")
    (short_path / "postgres" / "data.new" / "base").mkdir(parents=True)
    server.prepare()
    assert (server.data / "PG_VERSION").read_text().strip() == "18"


FULL_DISK = """\
2026-11-22 18:48:17.419 UTC [47] FATAL:  could not write to file "pg_wal/x.47": No space left
child process exited with exit code 1
initdb: removing contents of data directory "/data/postgres/data.new"
"""
NO_CONFIG = """\
initdb: error: could not write file "/d/postgresql.conf": No space left on device
initdb: removing data directory "/d"
"""


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (FULL_DISK, 'could not write to file "pg_wal/x.47": No space left'),
        (NO_CONFIG, 'could not write file "/d/postgresql.conf": No space left on device'),
        ("initdb: error: bad locale\ninitdb: removing it\n", "initdb: error: bad locale"),
        ("initdb: removing it\n", "no output"),
    ],
)
def test_a_set_up_that_fails_is_told_with_its_cause(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, cause: str
) -> None:
    def failed(*_: object, **__: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess([], 1, "", said)

    monkeypatch.setattr(subprocess, "run", failed)
    with pytest.raises(ServiceError) as raised:
        EmbeddedPostgres(short_path / "postgres").prepare()
    remedy = "Free some space" if "No space" in cause else "Remove that folder"
    assert f"{cause}. {remedy}, or set QUANTUM_DATA" in str(raised.value)
    assert "removing" not in str(raised.value)


def test_a_folder_of_another_version_of_postgres_is_refused(short_path: Path) -> None:
    data = short_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n")
    server = EmbeddedPostgres(short_path / "postgres")
    with pytest.raises(ServiceError, match=r"made by Postgres 17, this build has 18.*QUANTUM_DATA"):
        server.start()
    assert (data / "PG_VERSION").read_text() == "17\n", "nothing was changed"
