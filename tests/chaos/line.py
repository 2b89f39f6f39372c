"""A way to a server that can be cut: what a network, a firewall or a failover does to a connection."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Coroutine
from enum import Enum
from pathlib import Path
from typing import Any


class Mode(Enum):
    OPEN = "open"
    SWALLOWED = "swallowed"  # half open: what is sent arrives nowhere, nothing comes back, nobody says so
    DEAF = "deaf"  # what is sent arrives; the answers are lost
    REFUSED = "refused"


class Line:
    """A TCP port of this machine that leads to the Unix socket `target`, as long as nobody cuts it."""

    def __init__(self, target: Path, tls: ssl.SSLContext | None = None) -> None:
        self._target = target
        self._mode = Mode.OPEN
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls))
        self.port = int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self, how: Mode) -> None:
        self._mode = how
        if how is Mode.REFUSED:
            self._do(self._hang_up())

    def mend(self) -> None:
        """Connections that lost bytes are of no use any more; new ones go through."""
        if self._mode is not Mode.OPEN:
            self._mode = Mode.OPEN
            self._do(self._hang_up())

    def lead_to(self, target: Path) -> None:
        """New connections go to another server, as after a failover; those that are open stay where they are."""
        self._target = target

    def close(self) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- within the loop -----------------------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode is Mode.REFUSED:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        await asyncio.gather(
            self._pump(reader, back, lost_in={Mode.SWALLOWED}),
            self._pump(there, writer, lost_in={Mode.SWALLOWED, Mode.DEAF}),
        )
        self._open -= {writer, back}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, lost_in: set[Mode]) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if self._mode not in lost_in:
                    sink.write(data)
                    await sink.drain()
        with contextlib.suppress(OSError):
            sink.close()

    async def _hang_up(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _end(self) -> None:
        self._server.close()
        await self._hang_up()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait(others, timeout=5) if others else None
