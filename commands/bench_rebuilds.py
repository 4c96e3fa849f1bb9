"""Rebuilds one after the other, as a load beside something else that is measured."""

import json
import os
import signal
import subprocess
import sys
from typing import Any, Self

from commands.console import CommandError
from commands.live import LiveSystem
from runtime import processes
from runtime.settings import ROOT

GRACE_S = 10


class Rebuilds:
    """Runs `rebuild --verify` again and again from the moment it is entered; call
    :meth:`look` a few times a second. Without `wanted` it does nothing."""

    def __init__(self, system: LiveSystem, *, wanted: bool = True) -> None:
        self.wanted = wanted
        self.done: list[dict[str, Any]] = []
        """What each rebuild that came to its end said."""
        self._environment = os.environ | {
            "QUANTUM_KAFKA": system.kafka,
            "QUANTUM_POSTGRES": system.postgres,
            "PYTHONPATH": str(ROOT),
        }
        self._output = system.run.folder / "rebuild.out"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.look()
        return self

    def look(self) -> None:
        """Begin the next one if none runs. CommandError when one did not succeed."""
        if not self.wanted or (self._process is not None and self._process.poll() is None):
            return
        if self._process is not None:
            self.done.append(self._result(self._process.returncode))
        with self._output.open("wb") as output:
            self._process = processes.spawn(
                [sys.executable, "-P", "-m", "commands", "rebuild", "--verify", "--json"],
                output=output,
                env=self._environment,
                cwd=ROOT,
            )

    def _result(self, code: int) -> dict[str, Any]:
        said = self._output.read_text(errors="replace")
        if code != 0:
            raise CommandError(f"a rebuild beside the measurement ended with {code}: {said[-500:]}")
        found: dict[str, Any] = json.loads(said[said.index("{") :])
        return found

    def figures(self) -> dict[str, Any]:
        """How many there were, how many records they read, and whether all were equal."""
        return {
            "rebuilds": len(self.done),
            "rebuilt_events": sum(each["events"] for each in self.done),
            "rebuilds_equal": all(each["equal"] for each in self.done),
        }

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            processes.stop(self._process, signal.SIGTERM, GRACE_S)
