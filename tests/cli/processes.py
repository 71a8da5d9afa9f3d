"""Commands in processes of their own, forked from one that has imported what they need: importing takes seconds."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from typing_extensions import Self

ROOT = Path(__file__).parents[2]
LIMIT = 600  # seconds
PROGRAM = f"""
import json, os, signal, socket, sys
import deepen_llm.diagnostics.cost, deepen_llm.tuning.tune
from deepen_llm.cli import app

line = socket.socket(fileno=int(sys.argv[1]))
while True:
    arguments, streams, *_ = socket.recv_fds(line, 65536, 3)
    process = os.fork()
    if not process:
        line.close()
        for own, given in enumerate(streams):
            os.dup2(given, own)
            os.close(given)
        signal.alarm({LIMIT})  # which ends it
        app(json.loads(arguments), prog_name="deepen")
    for given in streams:
        os.close(given)
    line.sendall(b"%d\\n" % process)
    line.sendall(b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""


class Command:
    """A command that runs, with this side of its streams.

    Args:
        process: Its process.
        streams: What it reads, writes, and writes as errors.
        line: Where its exit code comes from.
    """

    def __init__(self, process: int, streams: list[IO[bytes]], line: IO[bytes]) -> None:
        self.stdin, self.stdout, self.stderr = streams
        self._process, self._line = process, line
        self._code: int | None = None

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        os.kill(self._process, signal.SIGINT)

    def wait(self) -> int:
        """The exit code, once the command has ended."""
        if self._code is None:
            self._code = int(self._line.readline())
        return self._code

    def finish(self, given: bytes = b"") -> tuple[int, bytes, bytes]:
        """Give it the rest of its input; the exit code, and the rest of what it writes."""
        self.stdin.write(given)
        self.stdin.close()
        out, said = self.stdout.read(), self.stderr.read()
        return self.wait(), out, said

    def end(self) -> None:
        """End it, if it has not ended."""
        if self._code is None:
            os.kill(self._process, signal.SIGKILL)
            self.wait()


class Processes:
    """Starts commands, one at a time."""

    def __enter__(self) -> Self:
        ours, theirs = socket.socketpair()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        with theirs:
            self._server = subprocess.Popen(  # noqa: S603
                [sys.executable, "-c", PROGRAM, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,  # of the kind of what commands get
                stdout=subprocess.PIPE,
                env=environment,
            )
        self._socket, self._line = ours, ours.makefile("rb")
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()
        self._socket.close()
        with self._server:  # which closes its streams
            self._server.kill()

    @contextmanager
    def start(self, *arguments: str) -> Iterator[Command]:
        """Run ``deepen`` with these arguments; it is ended at the end of the block."""
        with ExitStack() as stack:
            pipes = [os.pipe() for _ in range(3)]
            theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
            ours: list[IO[bytes]] = [
                os.fdopen(pipes[0][1], "wb", 0),
                os.fdopen(pipes[1][0], "rb", 0),
                os.fdopen(pipes[2][0], "rb", 0),
            ]
            for one in ours:
                stack.enter_context(one)
            socket.send_fds(self._socket, [json.dumps(arguments).encode()], theirs)
            for given in theirs:
                os.close(given)
            command = Command(int(self._line.readline()), ours, self._line)
            stack.callback(command.end)
            yield command
