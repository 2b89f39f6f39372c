"""How good a model is on images that it was not trained on."""

from pydantic import BaseModel, Field

from services.contract.contents import Split

SCORES = 100  # labels up to which a job shows each one's


class LabelScore(BaseModel):
    label: str
    images: int
    precision: float
    recall: float
    f1: float


class Evaluation(BaseModel):
    """`confusion[true][predicted]` counts images, in the order of `labels`; empty for more than a hundred of them."""

    split: Split
    images: int
    loss: float
    accuracy: float
    labels: list[LabelScore]
    confusion: list[list[int]]
    ece: float | None = Field(None, description="expected calibration error, 0 to 1, before the temperature")
    calibrated_ece: float | None = Field(None, description="the same with the model's temperature")

    def in_short(self) -> "Evaluation":
        """As it stands in a job: without the scores of more labels than anyone reads."""
        return self if len(self.labels) <= SCORES else self.model_copy(update={"labels": []})
