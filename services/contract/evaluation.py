"""How good a model is on images that it was not trained on."""

from pydantic import BaseModel

from services.contract.file import Split


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
