"""A model is asked what images show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.api.images import refusal_of
from services.api.named import NamedModel, named_model
from services.api.predictors import HeadUnknown, Predictors
from services.contract.errors import NotFound, TooLarge
from services.contract.model import output_names
from services.contract.prediction import CHECKPOINT_BYTES, HeadSource, PredictorOrder, SeenImage
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
    names = output_names(labels, model.job.spec.num_labels)
    refusals = [refusal_of(image) for image in images]
    asked = [image for image, why in zip(images, refusals, strict=True) if why is None]
    answers = iter(await _ask(await _head(model, store), model, asked, top_k, store, predictors))
    return [Seen([], why) if why is not None else _seen(next(answers), names) for why in refusals]


def _seen(one: SeenImage, names: Sequence[str]) -> Seen:
    guesses = [Guess(names[i], at) for i, at in zip(one.outputs, one.log_probabilities, strict=True)]
    return Seen(guesses, one.error)


async def _ask(
    head: HeadSource,
    model: NamedModel,
    images: Sequence[bytes],
    top_k: int,
    store: Store,
    predictors: Predictors,
) -> list[SeenImage]:
    """A checkpoint goes along only where the predictor does not have its head yet."""
    order = PredictorOrder(head=head, top_k=top_k, sizes=list(map(len, images)))
    try:
        return await predictors.ask(order, images)
    except HeadUnknown:
        content = await _bytes_of_checkpoint(model, store)
    order = PredictorOrder(head=head, head_bytes=len(content), top_k=top_k, sizes=order.sizes)
    return await predictors.ask(order, [content, *images])


async def _head(model: NamedModel, store: Store) -> HeadSource:
    """A model's has a place; a checkpoint's has none, as a better one may take it."""
    weights = model.job.spec.weights
    left = model.record or await store.models.of_job(model.job.tenant, model.job.id)
    sha256 = left.result.receipt.weights_sha256 if left else None
    if model.record is not None:
        result = model.record.result
        place, temperature = result.exports["safetensors"], result.temperature
        return HeadSource(key=place, place=place, weights=weights, weights_sha256=sha256, temperature=temperature)
    assert model.checkpoint is not None
    return HeadSource(key=model.checkpoint.sha256, place=None, weights=weights, weights_sha256=sha256)


async def _bytes_of_checkpoint(model: NamedModel, store: Store) -> bytes:
    """Raises NotFound, TooLarge."""
    assert model.checkpoint is not None
    if model.checkpoint.bytes > CHECKPOINT_BYTES:
        raise TooLarge(f"The checkpoint has {model.checkpoint.bytes} bytes: over {CHECKPOINT_BYTES} none is asked.")
    found = await store.checkpoints.get(model.job.id, model.checkpoint.number)
    if found is None:
        raise _gone(model, "bytes")
    return found[1]


def _gone(model: NamedModel, what: str) -> NotFound:
    return NotFound(f"The {what} of {model.id} are no longer there.", param="model")
