"""The processes that list archives: few, and of one tenant's archives one at a time, so that nobody waits for another's
for long."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import defaultdict

from services.contract.errors import InvalidArchive
from services.contract.file import Listed, ListingOrder
from services.contract.timing import Timing
from services.environment import bare_environment

MOST = max(1, (os.cpu_count() or 1) // 2)  # at work at a time: the API needs the rest
LINE_LIMIT = 64 * 1024**2  # bytes: ten thousand labels with their counts are 3 MB


class Listers:
    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._places = asyncio.Semaphore(MOST)
        self._idle: list[Process] = []
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def list(self, tenant: str, order: ListingOrder) -> Listed:
        """Raises InvalidArchive, OSError."""
        async with self._turns[tenant], self._places:
            told = await self._ask(order)
        if told.refusal is not None:
            raise InvalidArchive(told.refusal)
        if told.errno is not None:
            raise OSError(told.errno, told.strerror)
        return told

    def close(self) -> None:
        for lister in self._idle:
            lister.kill()  # it has nothing to save

    async def _ask(self, order: ListingOrder) -> Listed:
        """Whatever goes wrong with a lister ends it; the next archive gets another."""
        self._idle = [lister for lister in self._idle if lister.returncode is None]
        lister = self._idle.pop() if self._idle else await self._started()
        assert lister.stdin is not None
        assert lister.stdout is not None
        try:
            lister.stdin.write(f"{order.model_dump_json()}\n".encode())
            async with asyncio.timeout(self._timing.listing):
                line = await lister.stdout.readuntil(b"\n")
        except TimeoutError:
            raise InvalidArchive(f"the archive could not be listed within {self._timing.listing:g} s") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise InvalidArchive("the archive could not be listed: the process that read it ended") from None
        else:
            self._idle.append(lister)
            return Listed.model_validate_json(line)
        finally:
            if lister not in self._idle and lister.returncode is None:
                lister.kill()

    @staticmethod
    async def _started() -> Process:
        command = (sys.executable, "-m", "services.datasets")
        return await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, limit=LINE_LIMIT, env=bare_environment(), start_new_session=True
        )
