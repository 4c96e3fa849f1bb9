"""A process that has imported what workers need, and starts them by forking.

``python -P -m runtime.fork_server CHANNEL NAME MODULE…``, by :mod:`runtime.forks` alone. Of a start
of a worker most is imports: they happen here once, and not while somebody waits for a worker that
was killed. This process has one thread and opens nothing, so that a fork of it is whole.

A worker is forked twice: what is between ends, and the supervisor, a subreaper at that moment, is
the worker's parent, and learns of its end from the kernel. The worker begins when the supervisor
says so, and ends when it never does: else a request that fails half way would leave a worker that
nobody knows, beside the one that is started in its place.
"""

import gc
import importlib
import inspect
import json
import os
import runpy
import signal
import socket
import sys
import time
from pathlib import Path

import setproctitle

from runtime import entry
from runtime.build import code_digest, own_build
from runtime.processes import die_with

REQUEST_MAX = 1 << 16
"""Bytes of a request: words of a command."""
NAME_MAX = 15
"""Of what `top` shows."""


def main(words: list[str]) -> None:
    """Import, then serve until the other end of the channel is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who is not told of an end cannot wait for one
    channel = socket.socket(fileno=int(words[0]))
    supervisor = os.getppid()
    setproctitle.setproctitle(f"quantum fork server of {supervisor}: {words[1]}")
    build = own_build()
    for name in words[2:]:
        importlib.import_module(name)
    if code_digest() != build:
        raise SystemExit("the code was changed while it was imported: start the system again")
    inspect.getmodule(inspect.currentframe())  # makes its table of files, which Faust asks for
    gc.collect()
    gc.freeze()  # no collection writes into pages that all share
    sys.stdout.flush()
    sys.stderr.flush()
    channel.send(str(sum(1 for _ in Path("/proc/self/task").iterdir())).encode())
    while True:
        asked, descriptors, *_ = socket.recv_fds(channel, REQUEST_MAX, 2)
        if not asked:
            return
        output, go = descriptors
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
            _wait(between, go)
            _become(json.loads(asked), output, supervisor)
            return
        for each in (writes, output, go):
            os.close(each)
        os.waitpid(between, 0)  # first: then the worker is the supervisor's child
        channel.send(os.read(reads, 32))
        os.close(reads)


def _wait(between: int, go: int) -> None:
    """Until the supervisor has this process for its child and wants it to begin; end otherwise."""
    while os.getppid() == between:
        time.sleep(0.0005)
    if not os.read(go, 1):
        os._exit(0)
    os.close(go)


def _become(command: list[str], output: int, supervisor: int) -> None:
    """Be what `python -P -m MODULE …` would be, with an output of its own."""
    os.setsid()
    die_with(supervisor, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    for each in (nothing, output):
        os.close(each)
    name, *arguments = command[3:]
    setproctitle.setproctitle(" ".join(command))
    role = arguments[0] if arguments and not arguments[0].startswith("-") else name
    setproctitle.setthreadtitle(role[:NAME_MAX])
    loaded = sys.modules.get(name)
    sys.argv = [getattr(loaded, "__file__", None) or name, *arguments]
    if loaded is None or not hasattr(loaded, "main"):
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        entry.run(loaded.main)


if __name__ == "__main__":
    main(sys.argv[1:])
