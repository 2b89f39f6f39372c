"""The predictors behind the API: asked in turn, and the next one where one does not answer at all."""

import asyncio
from collections.abc import Sequence
from itertools import count

import httpx
from pydantic import ValidationError

from services.contract.errors import PredictorUnavailable, RateLimited
from services.contract.prediction import PredictorAnswer, PredictorOrder, PredictorRefusal, SeenImage
from services.contract.timing import Timing

HOW = "`headway up` and compose start one; `headway predictor` runs one more, and HEADWAY_PREDICTOR_URL names it"


class HeadUnknown(Exception):
    """The predictor has no head by that key: it must be sent along."""


class Predictors:
    def __init__(self, urls: Sequence[str], timing: Timing) -> None:
        self._clients = [_client(url, timing) for url in urls]
        self._timing, self._turns = timing, count()

    async def ask(self, order: PredictorOrder, blobs: Sequence[bytes]) -> list[SeenImage]:
        """What is seen on each image. Raises HeadUnknown, PredictorUnavailable, RateLimited."""
        body = b"".join([order.model_dump_json().encode(), b"\n", *blobs])
        try:
            async with asyncio.timeout(self._timing.prediction):
                answer = await self._sent(body)
        except TimeoutError:
            message = f"The predictor did not answer within {self._timing.prediction:g} s: try again."
            raise PredictorUnavailable(message) from None
        if answer.status_code != 200:
            raise _refusal(answer)
        try:
            return PredictorAnswer.model_validate_json(answer.content).seen
        except ValidationError:
            raise PredictorUnavailable("The predictor's answer cannot be read: its version may be another.") from None

    async def aclose(self) -> None:
        for client in self._clients:
            await client.aclose()

    async def _sent(self, body: bytes) -> httpx.Response:
        """One that cannot be reached is passed over; what another was asked and did not answer is not asked again."""
        first = next(self._turns)
        for turn in range(len(self._clients)):
            client = self._clients[(first + turn) % len(self._clients)]
            try:
                return await client.post("/predict", content=body)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            except httpx.TransportError:
                raise PredictorUnavailable("The predictor ended while it was asked: try again.") from None
        raise PredictorUnavailable(f"No predictor runs: {HOW}.")


def _client(url: str, timing: Timing) -> httpx.AsyncClient:
    socket = url.removeprefix("unix://") if url.startswith("unix://") else None
    limits = httpx.Limits(max_connections=None)
    transport = httpx.AsyncHTTPTransport(uds=socket, limits=limits)
    base, waits = "http://predictor" if socket else url, httpx.Timeout(timing.prediction, connect=timing.probe)
    return httpx.AsyncClient(base_url=base, transport=transport, timeout=waits, trust_env=False)


def _refusal(answer: httpx.Response) -> Exception:
    try:
        refusal = PredictorRefusal.model_validate_json(answer.content)
    except ValidationError:
        return PredictorUnavailable(f"The predictor answered {answer.status_code}: its log says why.")
    if answer.status_code == 428:
        return HeadUnknown(refusal.message)
    if answer.status_code == 429:
        return RateLimited(refusal.message, retry_after=1)
    return PredictorUnavailable(refusal.message)
