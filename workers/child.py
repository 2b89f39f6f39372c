"""The trainer's process: started with its spec, read line by line, stopped softly, then surely."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import ValidationError

from services.contract.lines import LINE, Line
from services.contract.spec import TrainerSpec
from services.contract.timing import Timing
from services.settings import Settings
from workers.zygote import Process, Start, discard

log = logging.getLogger(__name__)

LINE_LIMIT = 64 * 1024**2  # bytes; an evaluation of thousands of labels is one line
MEMORY_LIMITS = (  # cgroup v2's, v1's
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
OOM_COUNTS = (  # cgroup v2's, v1's
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
)


class TrainerSilent(Exception):
    """It lives, and has said nothing for so long that it must hang."""


@dataclass(frozen=True)
class TrainerExit:
    """`status` is minus the signal's number if one killed it; `oom_killed` if the kernel did, for memory, as far as
    the control group tells."""

    status: int
    oom_killed: bool


class Child:
    """A trainer at work, whose lines are read in the running event loop."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._oom_kills = oom_kills()

    async def give(self, spec: TrainerSpec) -> None:
        """May wait until the trainer reads, which is after seconds of import where the spec is long."""
        await self.tell(spec.model_dump_json())

    async def tell(self, line: str) -> None:
        """May wait, as `give` does."""
        await asyncio.to_thread(self._write, line.encode() + b"\n")

    async def lines(self, timing: Timing) -> AsyncIterator[Line]:
        """What the trainer says, until it ends. A line torn by its death is dropped. Raises TrainerSilent."""
        reader = asyncio.StreamReader(limit=LINE_LIMIT)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout)
        try:
            patience = timing.trainer_start
            while raw := await _within(patience, reader.readline()):
                patience = timing.trainer_silence
                try:
                    yield LINE.validate_json(raw)
                except ValidationError:
                    log.warning("a line of the trainer was not understood: %.200r", raw)
        finally:
            transport.close()

    async def wait(self) -> TrainerExit:
        status = await asyncio.to_thread(self._process.wait)
        self.end_input()
        return TrainerExit(status, oom_killed=status == -signal.SIGKILL and oom_kills() > self._oom_kills)

    def memory(self) -> int:
        """Bytes that it takes, its helpers' too; without what it only maps of files."""
        taken: int = 0
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            for each in (process, *process.children(recursive=True)):
                info = each.memory_info()
                taken += info.rss - getattr(info, "shared", 0)
        return taken

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError, ValueError):  # it died, or was told all: its exit says why
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def stop(self, *, grace: float) -> None:
        """SIGTERM now, SIGKILL after `grace` seconds. Asked twice, the shorter grace counts."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            asyncio.get_running_loop().call_later(grace, self.kill)

    def end_input(self) -> None:
        """Nothing more will be told."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def discard(self) -> None:
        """It has nothing to save. Blocks until it is gone."""
        discard(self._process)

    def kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()


async def started(start: Start, *arguments: str) -> Child:
    """In a thread, as a zygote may take a while to answer. None is left behind where this is cancelled."""
    starting = asyncio.ensure_future(asyncio.to_thread(start, *arguments))
    try:
        return Child(await asyncio.shield(starting))
    except asyncio.CancelledError:
        starting.add_done_callback(_discard_what_came)
        raise


def _discard_what_came(starting: "asyncio.Future[Process]") -> None:
    if starting.exception() is None:
        discard(starting.result())


async def _within(seconds: float, line: Awaitable[bytes]) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await line
    except TimeoutError:
        raise TrainerSilent(f"The trainer said nothing for {seconds:g} s and was ended.") from None


def memory_of_trainers(config: Settings) -> int:
    """Bytes that one may take."""
    return config.trainer_memory or memory_of_machine() * 9 // 10


def memory_of_machine() -> int:
    """Bytes, or what this control group may use of them."""
    found: list[int] = [psutil.virtual_memory().total]
    for limit in MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            found.append(int(limit.read_text()))
    return min(found)


def oom_kills() -> int:
    """How many processes of this control group were killed for memory; 0 where nothing says so."""
    for counts in OOM_COUNTS:
        with contextlib.suppress(OSError):
            fields = dict(line.split() for line in counts.read_text().splitlines())
            return int(fields.get("oom_kill", 0))
    return 0
