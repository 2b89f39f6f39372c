"""OpenAI's two ways to ask a model about an image, as far as a classifier can answer: a label is one token.

What samples or shapes text (temperature, max_tokens, …) changes nothing about a label, and is passed over; what asks
for more than a label is refused by name.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

TOP: int = 20  # logprobs of a token, as OpenAI has it


class Passed(BaseModel):
    """Fields that change nothing about a label, and those that ask for what no classifier does, if they are set."""

    model_config = ConfigDict(extra="forbid")

    model: str
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
    text: str | None = None
    image_url: ChatImageUrl | None = None


class ChatMessage(BaseModel):
    role: str
    content: str | list[ChatPart] | None = None
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
    content: list[TokenLogprob]
    refusal: None = None


class ChatAnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str = Field(description="the likeliest label")
    refusal: None = None
    annotations: list[Any] = []


class ChatChoice(BaseModel):
    index: int = 0
    message: ChatAnswerMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: Literal["stop"] = "stop"


class ChatUsage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int = Field(description="Unix time, s")
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage = ChatUsage()


# --- responses -----------------------------------------------------------------------------------------------------


class InputPart(BaseModel):
    type: str = Field(description='"input_image", or "input_text", which is passed over')
    text: str | None = None
    image_url: str | None = Field(None, description="data:image/…;base64,…: addresses are never fetched")
    file_id: str | None = Field(None, description="not taken: send the image itself")
    detail: str | None = Field(None, description="passed over")


class InputItem(BaseModel):
    type: str = "message"
    role: str = "user"
    content: str | list[InputPart]


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
    type: Literal["output_text"] = "output_text"
    text: str = Field(description="the likeliest label")
    annotations: list[Any] = []
    logprobs: list[TokenLogprob] = []


class OutputMessage(BaseModel):
    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    status: Literal["completed"] = "completed"
    content: list[OutputText]


class TokenDetails(BaseModel):
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class ResponseUsage(BaseModel):
    input_tokens: int = 0
    input_tokens_details: TokenDetails = TokenDetails()
    output_tokens: int = 0
    output_tokens_details: TokenDetails = TokenDetails()
    total_tokens: int = 0


class ModelResponse(BaseModel):
    """OpenAI's `response`."""

    id: str
    object: Literal["response"] = "response"
    created_at: int = Field(description="Unix time, s")
    status: Literal["completed"] = "completed"
    model: str
    output: list[OutputMessage]
    error: None = None
    incomplete_details: None = None
    instructions: str | None = None
    metadata: dict[str, str] = {}
    parallel_tool_calls: bool = False
    temperature: float | None = None
    tool_choice: str = "none"
    tools: list[Any] = []
    top_p: float | None = None
    usage: ResponseUsage = ResponseUsage()
