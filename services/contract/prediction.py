"""What an image is, asked of a model: the API's answer, and the order that it hands to a predictor."""

from typing import Final, Literal

from pydantic import BaseModel, Field

from services.contract.recipe import Strict
from services.contract.units import Object
from services.contract.weights import JobWeights

IMAGES: Final = 64  # in a request
IMAGE_BYTES: Final = 20 * 1024**2  # of one
CHECKPOINT_BYTES: Final = 32 * 1024**2  # of one that can be asked: some hundred trials of 10 labels
BODY_BYTES: Final = 64 * 1024**2  # of all, as they are sent


class LabelProbability(BaseModel):
    label: str = Field(description="as it was trained")
    probability: float = Field(description="0 to 1, calibrated by the model's temperature where it has one")


class ImageError(BaseModel):
    """Why one image has no answer; the others have theirs."""

    code: Literal["image_unreadable"] = Field("image_unreadable", description="what kind of trouble")
    message: str = Field(description="what is wrong with the image")


class ImagePrediction(BaseModel):
    index: int = Field(description="its place in the request, from 0")
    filename: str | None = Field(None, description="as it was sent in a form")
    labels: list[LabelProbability] = Field([], description="the likeliest first, top_k of them")
    error: ImageError | None = Field(None, description="where it cannot be read; else null")


class Predictions(BaseModel):
    object: Object[Literal["list"]] = "list"
    model: str = Field(description="that was asked")
    created: int = Field(description="Unix time, s")
    data: list[ImagePrediction] = Field(description="one for each image, in their order")


# --- between the API and a predictor -------------------------------------------------------------------------------


class HeadSource(Strict):
    """A model as a predictor needs it. `key` names these very numbers; their safetensors lie at `place` in the store
    of bytes, or are sent along once."""

    key: str
    place: str | None
    weights: JobWeights
    weights_sha256: str | None = None
    temperature: float = 1.0


class PredictorOrder(Strict):
    """A line of JSON; behind it come `head_bytes` of the head, where it is sent along, and `sizes` of each image."""

    head: HeadSource
    head_bytes: int = 0
    top_k: int
    sizes: list[int]


class SeenImage(BaseModel):
    """The likeliest outputs of the head with their log-probabilities, or why there are none."""

    outputs: list[int] = []
    log_probabilities: list[float] = []
    error: str | None = None


class PredictorAnswer(BaseModel):
    seen: list[SeenImage]


class PredictorRefusal(BaseModel):
    """With 428 where the head must be sent along, 429 where too many images wait, 503 where the backbone cannot be had,
    400 for a head that is none."""

    code: str
    message: str
