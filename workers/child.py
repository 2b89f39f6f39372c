"""The trainer's process: started with its spec, read line by line, stopped softly, then surely."""

import asyncio
import contextlib
import logging
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic import ValidationError

from services.contract.events import LINE, Line
from services.contract.spec import TrainerSpec

log = logging.getLogger(__name__)

LINE_LIMIT = 64 * 1024**2  # bytes; an evaluation of thousands of labels is one line
EXIT_STOPPED = 75  # the trainer's word for: stopped on request, after a checkpoint


class Child:
    """A trainer. Tethered: it ends by itself when this process does, however that happens."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._oom_kills = oom_kills()

    @classmethod
    async def start(cls) -> "Child":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "workers.trainer", "--tethered"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C at the worker must reach it through us, as a drain
            limit=LINE_LIMIT,
        )
        return cls(process)

    async def give(self, spec: TrainerSpec) -> None:
        """May wait until the trainer reads, which is after seconds of import where the spec is long."""
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it died already: its exit says why
            self._process.stdin.write(spec.model_dump_json().encode() + b"\n")
            await self._process.stdin.drain()

    async def lines(self) -> AsyncIterator[Line]:
        """What the trainer says, until it ends. A line torn by its death is dropped."""
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            try:
                yield LINE.validate_json(raw)
            except ValidationError:
                log.warning("a line of the trainer was not understood: %.200r", raw)

    async def wait(self) -> int:
        """The exit status; minus the signal's number if one killed it."""
        return await self._process.wait()

    def stop(self, *, grace: float) -> None:
        """SIGTERM now, SIGKILL after `grace` seconds. Asked twice, the shorter grace counts."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            asyncio.get_running_loop().call_later(grace, self.kill)

    def kill(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def was_oom_killed(self, status: int) -> bool:
        """Whether the kernel killed it for memory, as far as its control group tells."""
        return status == -signal.SIGKILL and oom_kills() > self._oom_kills


def oom_kills() -> int:
    """How many processes of this control group (cgroup v2) were killed for memory; 0 where nothing says so."""
    try:
        events = dict(line.split() for line in Path("/sys/fs/cgroup/memory.events").read_text().splitlines())
    except OSError:
        return 0
    return int(events.get("oom_kill", 0))
