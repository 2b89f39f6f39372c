"""How good a model is on images that it was not trained on."""

from pydantic import BaseModel, Field

from services.contract.contents import Split

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
