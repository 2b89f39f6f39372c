"""How good a model is on images that it was not trained on."""

from typing import Literal, NamedTuple

from pydantic import BaseModel, Field

from services.contract.contents import Split
from services.contract.units import Object

SCORES = 100  # labels up to which a job shows each one's


class LabelScore(BaseModel):
    label: str = Field(description="its name")
    images: int = Field(description="held-out images that have it")
    precision: float = Field(
        description="share of the images taken for it that have it, 0 to 1; 0 where there are none"
    )
    recall: float = Field(description="share of its images that were taken for it, 0 to 1; 0 where there are none")
    f1: float = Field(description="harmonic mean of both, 0 to 1")


class Evaluation(BaseModel):
    """A head on images that it was not trained on."""

    split: Split = Field(description='"test" where the training file has one, else "val"')
    images: int = Field(description="that were judged: those that can be read")
    loss: float = Field(description="mean of the images', nats (cross-entropy)")
    accuracy: float = Field(description="share of the images that are classified right, 0 to 1")
    labels: list[LabelScore] = Field(
        description="in the order of the head's outputs; [] where they are too many to be shown here"
    )
    confusion: list[list[int]] = Field(
        description=f"[true][predicted] counts images; [] in trials, and for more than {SCORES} labels"
    )
    ece: float | None = Field(None, description="expected calibration error, 0 to 1, before the temperature")
    calibrated_ece: float | None = Field(None, description="the same with the model's temperature")

    def in_short(self) -> "Evaluation":
        """As it stands in a job: without the scores of more labels than anyone reads."""
        return self if len(self.labels) <= SCORES else self.model_copy(update={"labels": []})


class Judgement(NamedTuple):
    """One held-out image, as a line of the file that a trainer leaves: the worst first."""

    path: str
    label: str
    predicted: str
    probability: float
    loss: float


class JudgedImage(BaseModel):
    """What the model does on one of the held-out images."""

    id: str = Field(description="its rank, from 0: the worst has the largest loss")
    object: Object[Literal["evaluation.image"]] = "evaluation.image"
    file: str = Field(description="the id of the file that holds it")
    path: str = Field(description="in that file: …/files/{file}/images/{path} shows it")
    label: str = Field(description="that it has")
    predicted: str = Field(description="the label that the model takes it for")
    probability: float = Field(description="of the predicted label, 0 to 1, as a prediction gives it")
    loss: float = Field(description="its cross-entropy, nats")
