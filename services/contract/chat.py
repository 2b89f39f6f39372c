"""OpenAI's two ways to ask a model about an image, as far as a classifier can answer: a label is one token.

What samples or shapes text (temperature, max_tokens, …) changes nothing about a label, and is passed over; what asks
for more than a label is refused by name.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.contract.units import Object

TOP: int = 20  # logprobs of a token, as OpenAI has it


class Passed(BaseModel):
    """Fields that change nothing about a label, and those that ask for what no classifier does, if they are set."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, body: Any) -> Any:
        """As wrappers of the `openai` package send what nobody set, also what only later versions of it have."""
        return {name: value for name, value in body.items() if value is not None} if isinstance(body, dict) else body

    model: str = Field(description="a model's id, or that of a checkpoint")
    stream: bool | None = Field(None, description="only false: a label comes whole")
    tools: list[Any] | None = Field(None, description="only an empty list")
    tool_choice: Any = Field(None, description='"none" or "auto"')
    parallel_tool_calls: bool | None = Field(None, description="passed over")
    temperature: float | None = Field(None, description="passed over: the likeliest label is the answer")
    top_p: float | None = Field(None, description="passed over")
    user: str | None = Field(None, description="passed over")
    safety_identifier: str | None = Field(None, description="passed over")
    prompt_cache_key: str | None = Field(None, description="passed over")
    service_tier: str | None = Field(None, description="passed over")
    store: bool | None = Field(None, description="passed over: nothing is kept")
    metadata: dict[str, str] | None = Field(None, description="passed over")
    top_logprobs: Annotated[int, Field(ge=0, le=TOP)] | None = Field(None, description="labels with their logprobs")


# --- chat completions ----------------------------------------------------------------------------------------------


class ChatImageUrl(BaseModel):
    url: str = Field(description="data:image/…;base64,…: addresses are never fetched")
    detail: str | None = Field(None, description="passed over")


class ChatPart(BaseModel):
    type: str = Field(description='"image_url", or "text", which is passed over')
    text: str | None = Field(None, description="passed over")
    image_url: ChatImageUrl | None = Field(None, description="the image")


class ChatMessage(BaseModel):
    role: str = Field(description="passed over")
    content: str | list[ChatPart] | None = Field(None, description="text, or parts")
    name: str | None = Field(None, description="passed over")


class ChatRequest(Passed):
    messages: list[ChatMessage] = Field(min_length=1, description="with one image in all")
    logprobs: bool | None = Field(None, description="whether the label comes with its log-probability")
    n: int | None = Field(None, description="only 1: there is one likeliest label")
    response_format: dict[str, Any] | None = Field(None, description='only {"type": "text"}')
    modalities: list[str] | None = Field(None, description='only ["text"]')
    max_tokens: int | None = Field(None, description="passed over")
    max_completion_tokens: int | None = Field(None, description="passed over")
    seed: int | None = Field(None, description="passed over: the answer is always the same")
    stop: Any = Field(None, description="passed over")
    presence_penalty: float | None = Field(None, description="passed over")
    frequency_penalty: float | None = Field(None, description="passed over")
    logit_bias: dict[str, float] | None = Field(None, description="only an empty one")
    reasoning_effort: str | None = Field(None, description="passed over")
    stream_options: Any = Field(None, description="passed over")


class TopLogprob(BaseModel):
    token: str = Field(description="a label")
    logprob: float = Field(description="natural logarithm of its probability")
    bytes: list[int] = Field(description="of the label, in UTF-8")


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob] = Field(description="the likeliest labels, best first")


class ChatLogprobs(BaseModel):
    content: list[TokenLogprob] = Field(description="of the one token, which is the label")
    refusal: None = Field(None, description="always null")


class ChatAnswerMessage(BaseModel):
    role: Literal["assistant"] = Field("assistant", description="always the same")
    content: str = Field(description="the likeliest label")
    refusal: None = Field(None, description="always null")
    annotations: list[Any] = Field([], description="always empty")


class ChatChoice(BaseModel):
    index: int = Field(0, description="always 0")
    message: ChatAnswerMessage = Field(description="the answer")
    logprobs: ChatLogprobs | None = Field(None, description="where they were asked for")
    finish_reason: Literal["stop"] = Field("stop", description="always the same")


class ChatUsage(BaseModel):
    prompt_tokens: int = Field(0, description="0: an image is none")
    completion_tokens: int = Field(0, description="0: a label is not counted")
    total_tokens: int = Field(0, description="0")


class ChatCompletion(BaseModel):
    id: str = Field(description="of this answer, which is kept nowhere")
    object: Object[Literal["chat.completion"]] = "chat.completion"
    created: int = Field(description="Unix time, s")
    model: str = Field(description="that was asked")
    choices: list[ChatChoice] = Field(description="one")
    usage: ChatUsage = Field(ChatUsage(), description="always 0")


# --- responses -----------------------------------------------------------------------------------------------------


class InputPart(BaseModel):
    type: str = Field(description='"input_image", or "input_text", which is passed over')
    text: str | None = Field(None, description="passed over")
    image_url: str | None = Field(None, description="data:image/…;base64,…: addresses are never fetched")
    file_id: str | None = Field(None, description="not taken: send the image itself")
    detail: str | None = Field(None, description="passed over")


class InputItem(BaseModel):
    type: str = Field("message", description="always a message")
    role: str = Field("user", description="passed over")
    content: str | list[InputPart] = Field(description="text, or parts")


class ResponseRequest(Passed):
    input: str | list[InputItem] = Field(description="with one image in all")
    instructions: str | None = Field(None, description="passed over")
    include: list[str] | None = Field(None, description='"message.output_text.logprobs" or nothing')
    text: dict[str, Any] | None = Field(None, description='only {"format": {"type": "text"}}')
    background: bool | None = Field(None, description="only false")
    previous_response_id: str | None = Field(None, description="not taken: nothing is kept")
    conversation: Any = Field(None, description="not taken: nothing is kept")
    max_output_tokens: int | None = Field(None, description="passed over")
    truncation: str | None = Field(None, description="passed over")
    reasoning: Any = Field(None, description="passed over")


class OutputText(BaseModel):
    type: Literal["output_text"] = Field("output_text", description="always the same")
    text: str = Field(description="the likeliest label")
    annotations: list[Any] = Field([], description="always empty")
    logprobs: list[TokenLogprob] = Field([], description="of the label, where they were asked for")


class OutputMessage(BaseModel):
    id: str = Field(description="of this message, which is kept nowhere")
    type: Literal["message"] = Field("message", description="always the same")
    role: Literal["assistant"] = Field("assistant", description="always the same")
    status: Literal["completed"] = Field("completed", description="always the same")
    content: list[OutputText] = Field(description="the label")


class TokenDetails(BaseModel):
    cached_tokens: int = Field(0, description="always 0")
    reasoning_tokens: int = Field(0, description="always 0")


class ResponseUsage(BaseModel):
    input_tokens: int = Field(0, description="0: an image is none")
    input_tokens_details: TokenDetails = Field(TokenDetails(), description="always 0")
    output_tokens: int = Field(0, description="0: a label is not counted")
    output_tokens_details: TokenDetails = Field(TokenDetails(), description="always 0")
    total_tokens: int = Field(0, description="0")


class ModelResponse(BaseModel):
    """OpenAI's `response`."""

    id: str = Field(description="of this answer, which is kept nowhere")
    object: Object[Literal["response"]] = "response"
    created_at: int = Field(description="Unix time, s")
    status: Literal["completed"] = Field("completed", description="always the same")
    model: str = Field(description="that was asked")
    output: list[OutputMessage] = Field(description="one message")
    error: None = Field(None, description="always null")
    incomplete_details: None = Field(None, description="always null")
    instructions: str | None = Field(None, description="as they were sent")
    metadata: dict[str, str] = Field({}, description="as it was sent")
    parallel_tool_calls: bool = Field(False, description="always false")
    temperature: float | None = Field(None, description="as it was sent")
    tool_choice: str = Field("none", description="always the same")
    tools: list[Any] = Field([], description="always empty")
    top_p: float | None = Field(None, description="as it was sent")
    usage: ResponseUsage = Field(ResponseUsage(), description="always 0")
