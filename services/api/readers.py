"""Processes that read what strangers sent, so that the API's does not: a line in, a line out."""

import asyncio
import os
from asyncio.subprocess import PIPE, Process
from collections import defaultdict

from services.environment import bare_environment, of_module

MOST = max(1, (os.cpu_count() or 1) // 2)  # of a kind at work at a time: the API needs the rest
LINE_LIMIT = 64 * 1024**2  # bytes: ten thousand labels with their counts are 3 MB


class NoAnswer(Exception):
    """A process ended, or did not answer in time; the message says which."""


class ReaderProcesses:
    """Of one module: a few, and for one tenant one at a time, so that nobody waits for another's for long."""

    def __init__(self, module: str, seconds: float) -> None:
        self._module, self._seconds = module, seconds
        self._places = asyncio.Semaphore(MOST)
        self._idle: list[Process] = []
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def ask(self, tenant: str, line: str) -> bytes:
        """Raises NoAnswer."""
        async with self._turns[tenant], self._places:
            return await self._asked(line)

    def close(self) -> None:
        for process in self._idle:
            process.kill()  # it has nothing to save

    async def _asked(self, line: str) -> bytes:
        """Whatever goes wrong with a process ends it; the next line gets another."""
        self._idle = [process for process in self._idle if process.returncode is None]
        process = self._idle.pop() if self._idle else await self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{line}\n".encode())
            async with asyncio.timeout(self._seconds):
                answer = await process.stdout.readuntil(b"\n")
        except TimeoutError:
            raise NoAnswer(f"it took more than {self._seconds:g} s") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise NoAnswer("the process that read it ended") from None
        else:
            self._idle.append(process)
            return answer
        finally:
            if process not in self._idle and process.returncode is None:
                process.kill()

    async def _started(self) -> Process:
        return await asyncio.create_subprocess_exec(
            *of_module(self._module),
            stdin=PIPE,
            stdout=PIPE,
            limit=LINE_LIMIT,
            env=bare_environment(),
            start_new_session=True,
        )
