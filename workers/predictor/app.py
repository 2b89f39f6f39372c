"""The predictor's HTTP, for the API alone: an order and its images come in, outputs with log-probabilities go out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from itertools import pairwise

import numpy as np
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.contract.errors import FilesAway, WeightsUnavailable
from services.contract.prediction import HeadSource, PredictorAnswer, PredictorOrder, PredictorRefusal, SeenImage
from services.contract.timing import Timing
from services.contract.weights import AnyWeights, NamedWeights
from services.pictures.bounds import Unreadable
from workers.predictor.backbones import Backbones, LoadedBackbone
from workers.predictor.batches import Batches, Full
from workers.predictor.heads import Heads
from workers.vision.arrays import Floats
from workers.vision.heads import Head, HeadUnreadable

MOST = 256  # images in here at a time: two cores take some 3 s for them


FEW = 8  # images of one request at a time: others' come in between, and what nobody waits for any more ends soon


class Refused(Exception):
    """The whole order, with this status."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.refusal = status, PredictorRefusal(code=code, message=message)


class Predictor:
    """Raises DeviceUnavailable. `source` says where weights come from on this machine."""

    def __init__(self, device: str, files: str, source: Callable[[NamedWeights], AnyWeights], timing: Timing) -> None:
        self._backbones, self._heads = Backbones(device, timing), Heads(files)
        self._batches = Batches(MOST, timing.batch_window)
        self._source = source

    async def warm_up(self, weights: NamedWeights) -> None:
        """So that the first who asks does not wait; weights that cannot be had are said to who asks for them."""
        try:
            await asyncio.to_thread(self._backbones.get, self._source(weights))
        except WeightsUnavailable:
            return

    async def predict(self, order: PredictorOrder, blobs: list[bytes]) -> PredictorAnswer:
        """Raises Refused."""
        content = blobs.pop(0) if order.head_bytes else None
        backbone = await self._backbone(order.head)
        try:
            head = await asyncio.to_thread(self._heads.get, order.head, content)
        except HeadUnreadable as error:
            raise Refused(400, "head_unreadable", str(error)) from None
        except FilesAway:
            raise Refused(503, "files_away", "The store of objects does not answer.") from None
        if head is None:
            raise Refused(428, "head_unknown", "Send the head along.")
        seen: list[SeenImage] = []
        for some in (blobs[at : at + FEW] for at in range(0, len(blobs), FEW)):
            try:
                features = self._batches.submit(some, backbone)
            except Full:
                raise Refused(429, "busy", f"{MOST} images wait, as many as may.") from None
            seen += [await _seen(row, head, order) for row in features]
        return PredictorAnswer(seen=seen)

    def close(self) -> None:
        self._batches.close()

    async def _backbone(self, head: HeadSource) -> LoadedBackbone:
        try:
            found = await asyncio.to_thread(self._backbones.get, self._source(head.weights))
        except WeightsUnavailable as error:
            raise Refused(503, error.code, str(error)) from None
        if head.weights_sha256 not in (None, found.sha256):
            message = "This predictor has other weights than the model was trained on: HEADWAY_WEIGHTS must name those."
            raise Refused(503, WeightsUnavailable.code, message)
        return found


async def _seen(row: "Future[Floats]", head: Head, order: PredictorOrder) -> SeenImage:
    try:
        features = await asyncio.wrap_future(row)
    except Unreadable as error:
        return SeenImage(error=str(error))
    found = log_probabilities(head, features, order.head.temperature)  # (C,)
    best = np.argsort(-found, kind="stable")[: order.top_k]
    return SeenImage(outputs=best.tolist(), log_probabilities=found[best].tolist())


def log_probabilities(head: Head, features: Floats, temperature: float) -> Floats:
    """(512,) → (C,): log-softmax of the logits over the temperature."""
    logits = (head.weight @ features + head.bias) / np.float32(temperature)
    shifted = logits - logits.max()
    found: Floats = shifted - np.log(np.exp(shifted).sum())
    return found


# --- over HTTP -----------------------------------------------------------------------------------------------------


def create_app(predictor: Predictor, weights: NamedWeights, seconds: float) -> Starlette:
    """`weights` are had before anyone asks for them; an order has so many seconds."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        warming = asyncio.create_task(predictor.warm_up(weights))
        yield
        warming.cancel()
        predictor.close()

    async def predict(request: Request) -> Response:
        try:
            async with asyncio.timeout(seconds):  # the API has given up by then
                answer = await predictor.predict(*_parsed(await request.body()))
        except Refused as error:
            return _json(error.refusal.model_dump_json(), error.status)
        except TimeoutError:
            return _json(PredictorRefusal(code="late", message="It took too long.").model_dump_json(), 503)
        return _json(answer.model_dump_json())

    async def healthz(_: Request) -> Response:
        return _json("{}")

    routes = [Route("/predict", predict, methods=["POST"]), Route("/healthz", healthz)]
    return Starlette(routes=routes, lifespan=lifespan)


def _parsed(body: bytes) -> tuple[PredictorOrder, list[bytes]]:
    """Raises Refused."""
    line, _, rest = body.partition(b"\n")
    try:
        order = PredictorOrder.model_validate_json(line)
    except ValidationError as error:
        raise Refused(400, "bad_order", str(error.errors()[0]["msg"])) from None
    sizes = [*([order.head_bytes] if order.head_bytes else []), *order.sizes]
    if sum(sizes) != len(rest):
        raise Refused(400, "bad_order", "its sizes are not those of what follows")
    ends = np.cumsum([0, *sizes]).tolist()
    return order, [rest[start:end] for start, end in pairwise(ends)]


def _json(text: str, status: int = 200) -> Response:
    return Response(text, status, media_type="application/json")
