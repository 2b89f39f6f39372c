"""A model is asked what images show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.api.named import NamedModel, named_model
from services.api.predictors import Predictors
from services.contract.errors import NotFound
from services.contract.prediction import HeadSource, PredictorOrder
from services.store.store import Store


@dataclass(frozen=True)
class Guess:
    """A label and the natural logarithm of its probability."""

    label: str
    logprob: float

    @property
    def probability(self) -> float:
        return math.exp(self.logprob)


@dataclass(frozen=True)
class Seen:
    """The likeliest labels of one image, best first; or why there are none."""

    guesses: list[Guess]
    error: str | None = None


async def asked_model(name: str, tenant: str, store: Store) -> NamedModel:
    """Raises NotFound."""
    model = await named_model(name, tenant, store)
    if model is None:
        raise NotFound(f"There is no model {name[:128]}; GET /v1/models lists yours.", param="model")
    return model


async def seen(
    model: NamedModel, images: Sequence[bytes], top_k: int, store: Store, predictors: Predictors
) -> list[Seen]:
    """Raises NotFound, PredictorUnavailable, RateLimited."""
    labels = await model.labels(store)
    if labels is None:
        raise _gone(model, "labels")
    head, content = await _head(model, store)
    blobs = [*([content] if content is not None else []), *images]
    order = PredictorOrder(head=head, top_k=top_k, sizes=list(map(len, blobs)))
    names = [*labels, *(f"unused {i}" for i in range(len(labels), model.job.spec.num_labels))]
    return [
        Seen([Guess(names[i], at) for i, at in zip(one.outputs, one.log_probabilities, strict=True)], one.error)
        for one in await predictors.ask(order, blobs)
    ]


async def _head(model: NamedModel, store: Store) -> tuple[HeadSource, bytes | None]:
    """A model's by its place; a checkpoint's with its bytes, which a trainer in its place may soon replace."""
    weights = model.job.spec.weights
    if model.record is not None:
        result = model.record.result
        place = result.exports["safetensors"]
        sha256, temperature = result.receipt.weights_sha256, result.temperature
        source = HeadSource(key=place, place=place, weights=weights, weights_sha256=sha256, temperature=temperature)
        return source, None
    assert model.checkpoint is not None
    found = await store.checkpoints.get(model.job.id, model.checkpoint.number)
    if found is None:
        raise _gone(model, "bytes")
    return HeadSource(key=model.checkpoint.sha256, place=None, weights=weights), found[1]


def _gone(model: NamedModel, what: str) -> NotFound:
    return NotFound(f"The {what} of {model.id} are no longer there.", param="model")
