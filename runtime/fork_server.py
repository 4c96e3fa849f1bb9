"""A process that has imported what workers need, and starts them by forking.

``python -P -m runtime.fork_server DESCRIPTOR MODULE…``, by :mod:`runtime.forks` alone. Of a start
of a worker most is imports: they happen here once, and not while somebody waits for a worker that
was killed. This process has one thread and opens nothing, so that a fork of it is whole.

A worker is forked twice: what is between ends, and the supervisor, a subreaper at that moment, is
the worker's parent. So it learns of its end from the kernel, and this process may die without one.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import setproctitle

from runtime import entry
from runtime.build import code_digest
from runtime.processes import die_with

REQUEST_MAX = 1 << 20
"""Bytes of a request: words and environment of a process."""


def main(words: list[str]) -> None:
    """Import, then serve until the other end of the channel is closed."""
    channel = socket.socket(fileno=int(words[0]))
    supervisor = os.getppid()
    for name in words[1:]:
        importlib.import_module(name)
    code_digest()  # of the code that was imported, whatever lies in the files later
    setproctitle.setproctitle(f"quantum fork server of {supervisor}")
    threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    gc.collect()
    gc.freeze()  # no collection writes into pages that all share
    channel.send(str(threads).encode())
    while True:
        asked, outputs, _, _ = socket.recv_fds(channel, REQUEST_MAX, 1)
        if not asked:
            return
        request = json.loads(asked)
        reads, writes = os.pipe()
        between = os.fork()
        if between == 0:
            os.close(reads)
            between = os.getpid()
            if (worker := os.fork()) != 0:
                os.write(writes, str(worker).encode())
                os._exit(0)
            os.close(writes)
            channel.close()
            _become(request, outputs[0], between, supervisor)
            return
        os.close(writes)
        os.close(outputs[0])
        os.waitpid(between, 0)  # first: then the worker is the supervisor's child
        channel.send(os.read(reads, 32))
        os.close(reads)


def _become(request: dict[str, Any], output: int, between: int, supervisor: int) -> None:
    """Be what `python -P -m MODULE …` would be, with an output and an environment of its own."""
    while os.getppid() == between:
        time.sleep(0.0005)
    os.setsid()
    die_with(supervisor, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    for each in (nothing, output):
        os.close(each)
    os.environ.clear()
    os.environ.update(request["env"])
    command: list[str] = request["argv"]
    name = command[3]
    setproctitle.setproctitle(" ".join(command))
    loaded = sys.modules.get(name)
    sys.argv = [getattr(loaded, "__file__", None) or name, *command[4:]]
    if loaded is None:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        entry.run(loaded.main)


if __name__ == "__main__":
    main(sys.argv[1:])
