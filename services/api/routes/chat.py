"""Images to labels, as the `openai` package asks: chat completions and responses."""

import asyncio
import secrets
import time
from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import APIRouter

from services.api.asking import Guess, asked_model, seen
from services.api.deps import Tenant, ThePredictors, TheStore
from services.api.door import ImagesDoor
from services.api.images import from_data_url
from services.api.predictors import Predictors
from services.contract.chat import (
    ChatAnswerMessage,
    ChatChoice,
    ChatCompletion,
    ChatLogprobs,
    ChatRequest,
    ModelResponse,
    OutputMessage,
    OutputText,
    Passed,
    ResponseRequest,
    TokenLogprob,
    TopLogprob,
)
from services.contract.errors import BadRequest
from services.store.store import Store

router = APIRouter(prefix="/v1", tags=["predictions"], route_class=ImagesDoor)

LOGPROBS = "message.output_text.logprobs"


@router.post("/chat/completions")
async def chat(asked: ChatRequest, tenant: Tenant, store: TheStore, predictors: ThePredictors) -> ChatCompletion:
    """The label of the image in the messages, as the content; `logprobs` are the labels' log-probabilities."""
    _refuse(_beyond_a_label(asked))
    _refuse(_beyond_a_chat(asked))
    guesses = await _guesses(asked, _chat_images(asked), tenant, store, predictors)
    logprobs = ChatLogprobs(content=_logprobs(guesses, asked.top_logprobs)) if asked.logprobs else None
    choice = ChatChoice(message=ChatAnswerMessage(content=guesses[0].label), logprobs=logprobs)
    id, now = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
    return ChatCompletion(id=id, created=now, model=asked.model, choices=[choice])


@router.post("/responses")
async def response(asked: ResponseRequest, tenant: Tenant, store: TheStore, predictors: ThePredictors) -> ModelResponse:
    """The label of the image in the input, as the output's text; nothing is kept."""
    _refuse(_beyond_a_label(asked))
    _refuse(_beyond_a_response(asked))
    guesses = await _guesses(asked, _response_images(asked), tenant, store, predictors)
    wanted = LOGPROBS in (asked.include or []) or bool(asked.top_logprobs)
    logprobs = _logprobs(guesses, asked.top_logprobs) if wanted else []
    token = secrets.token_hex(12)
    message = OutputMessage(id=f"msg_{token}", content=[OutputText(text=guesses[0].label, logprobs=logprobs)])
    return ModelResponse(
        id=f"resp_{token}",
        created_at=int(time.time()),
        model=asked.model,
        output=[message],
        instructions=asked.instructions,
        metadata=asked.metadata or {},
        temperature=asked.temperature,
        top_p=asked.top_p,
    )


# --- what is asked -------------------------------------------------------------------------------------------------

Refusals = Iterator[tuple[str, object, str]]  # a field, whether it is set, and why it may not be


def _refuse(found: Refusals) -> None:
    """Raises BadRequest, which names the first that is set."""
    for field, is_set, why in found:
        if is_set:
            raise BadRequest(f"{field}: {why}", param=field)


def _beyond_a_label(asked: Passed) -> Refusals:
    yield "stream", asked.stream, "a label comes whole: leave it out, or send false"
    yield "tools", asked.tools, "an image classifier calls none: leave them out"
    yield "tool_choice", asked.tool_choice not in (None, "none", "auto"), "an image classifier calls no tools"


def _beyond_a_chat(asked: ChatRequest) -> Refusals:
    yield "n", asked.n not in (None, 1), "there is one likeliest label: send 1; top_logprobs has the others"
    yield "modalities", asked.modalities not in (None, ["text"]), 'a label is text: send ["text"]'
    yield "response_format", _is_no_text(asked.response_format), 'a label is text: send {"type": "text"}'
    yield "logit_bias", asked.logit_bias, "labels have no bias: leave it out"
    yield "top_logprobs", asked.top_logprobs is not None and not asked.logprobs, "it needs logprobs: true"


def _beyond_a_response(asked: ResponseRequest) -> Refusals:
    yield "background", asked.background, "the answer comes at once: leave it out"
    yield "previous_response_id", asked.previous_response_id, "nothing is kept: send the image again"
    yield "conversation", asked.conversation, "nothing is kept: send the image again"
    yield "include", set(asked.include or []) - {LOGPROBS}, f"only {LOGPROBS} can be had"
    shape = (asked.text or {}).get("format")
    yield "text.format", _is_no_text(shape), 'a label is text: send {"type": "text"}'


def _is_no_text(shape: Any) -> bool:
    return shape is not None and (not isinstance(shape, dict) or shape.get("type") != "text")


def _chat_images(asked: ChatRequest) -> Iterator[tuple[str, str]]:
    """Each image's place in the body, and its URL."""
    for at, message in enumerate(asked.messages):
        for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
            where = f"messages.{at}.content.{number}"
            if part.type == "image_url":
                yield f"{where}.image_url.url", _sent(part.image_url.url if part.image_url else None, where)
            elif part.type != "text":
                raise BadRequest(f"{where}.type: {part.type!r}: send an image_url, or text", param=f"{where}.type")


def _response_images(asked: ResponseRequest) -> Iterator[tuple[str, str]]:
    """Likewise."""
    for at, item in enumerate(asked.input if isinstance(asked.input, list) else ()):
        for number, part in enumerate(item.content if isinstance(item.content, list) else ()):
            where = f"input.{at}.content.{number}"
            if part.type == "input_image":
                yield f"{where}.image_url", _sent(part.image_url, where)
            elif part.type not in ("input_text", "output_text"):
                raise BadRequest(f"{where}.type: {part.type!r}: send an input_image", param=f"{where}.type")


def _sent(url: str | None, where: str) -> str:
    if url is None:
        name = f"{where}.image_url"
        raise BadRequest(f"{name}: required: send the image as data:image/jpeg;base64,…", param=name)
    return url


# --- what is answered ----------------------------------------------------------------------------------------------


async def _guesses(
    asked: Passed, images: Iterable[tuple[str, str]], tenant: str, store: Store, predictors: Predictors
) -> list[Guess]:
    """Of the one image, the likeliest labels. Raises BadRequest, NotFound, PredictorUnavailable, RateLimited."""
    found = list(images)
    field = "messages" if isinstance(asked, ChatRequest) else "input"
    if not found:
        raise BadRequest(f"{field}: no image: an image classifier answers nothing else", param=field)
    if len(found) > 1:
        raise BadRequest(f"{field}: {len(found)} images: send one, or several to POST /v1/predictions", param=field)
    model = await asked_model(asked.model, tenant, store)
    where, url = found[0]
    content = await asyncio.to_thread(from_data_url, url, where)
    one = (await seen(model, [content], max(1, asked.top_logprobs or 0), store, predictors))[0]
    if one.error is not None:
        raise BadRequest(f"{where}: the image cannot be read: {one.error}", param=where)
    return one.guesses


def _logprobs(guesses: list[Guess], top: int | None) -> list[TokenLogprob]:
    """One label is one token."""
    told = [TopLogprob(token=one.label, logprob=one.logprob, bytes=list(one.label.encode())) for one in guesses]
    return [TokenLogprob(**told[0].model_dump(), top_logprobs=told[: top or 0])]
