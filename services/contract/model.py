"""What a job that succeeded leaves: its model, and the receipt of how it was made."""

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import BaseModel, Field

from services.contract.evaluation import Evaluation
from services.contract.preflight import EngineName
from services.contract.progress import CheckpointMetrics
from services.contract.recipe import Export, Precision, ResolvedRecipe
from services.contract.units import Object


class ImageCounts(BaseModel):
    train: int = Field(description="images that were trained on")
    val: int = Field(description="that validated")
    test: int = Field(description="that were held out for the evaluation")


class ComputeDevice(BaseModel):
    name: str = Field(description="as torch names it")
    model: str = Field(description="of a GPU, as its driver names it")
    processor: str = Field(description="of the worker's machine")


class HeadCompute(BaseModel):
    """How the head was trained: the same for every attempt, never chosen by a timing."""

    device: str = Field("cpu", description="on which the head was trained")
    path: str = Field("numpy", description="which of our implementations")
    threads: int = Field(1, description="of the processor")


class Receipt(ResolvedRecipe):
    """Everything to replay the job. `hyperparameters` are those of the trial that became the model."""

    images: ImageCounts = Field(description="by what they were for")
    data_sha256: str = Field(description="of the images by split, label and content, in their order")
    weights: str = Field(description='of the backbone: "default", "random:N" or "file"')
    weights_sha256: str = Field(description="of the backbone's tensors")
    preprocess: str = Field(description="how pixels were made, with the version of its rules")
    precision: Precision = Field(description="of the backbone")
    engine: EngineName = Field("torch", description="that computed the features")
    fingerprint: str = Field("", description="of decoder and engine: who has the same computes the same, to the bit")
    device: ComputeDevice = Field(description="on which the features were computed")
    head: HeadCompute = Field(HeadCompute(), description="how the head was trained")
    versions: dict[str, str] = Field(description="of Headway and of what it computes with")


class Result(BaseModel):
    """`place` is the model's folder in the store of bytes, and `exports` are places in it; `evaluation` is in short."""

    model: str
    place: str
    exports: dict[Export, str]
    receipt: Receipt
    training_file: str = ""
    validation_file: str | None = None
    evaluation: Evaluation | None = None
    temperature: float = 1.0


def output_names(labels: Sequence[str], num_labels: int) -> list[str]:
    """Of the head's outputs, of which there may be more than labels."""
    return [*labels, *(f"unused {i}" for i in range(len(labels), num_labels))]


class Preprocessing(BaseModel):
    """From an upright RGB picture to the backbone's input: torchvision's `ResNet18_Weights.DEFAULT.transforms()`."""

    resize: int = Field(256, description="pixels that the short side becomes, bilinear with antialias")
    crop: int = Field(224, description="pixels of the square that is cut from the middle")
    mean: list[float] = Field([0.485, 0.456, 0.406], description="of each channel's values in 0 to 1")
    std: list[float] = Field([0.229, 0.224, 0.225], description="by which they are divided, once the mean is off")


PREPROCESSING: Final = Preprocessing()


class Model(BaseModel):
    """OpenAI's `model`, and what we add: one that a job left, or one of its checkpoints."""

    id: str = Field(description="as a request names it")
    object: Object[Literal["model"]] = "model"
    created: int = Field(description="Unix time, s")
    owned_by: str = Field(description="the tenant")
    expires_at: int | None = Field(
        description="Unix time, s: it goes with its job, where HEADWAY_RETENTION_DAYS is set"
    )
    base_model: str = Field("resnet18", description="the frozen backbone")
    weights: str = Field(description='the backbone\'s: "default" (ImageNet) or "random:N"')
    weights_sha256: str | None = Field(description="of the backbone's tensors; null of a checkpoint")
    preprocessing: Preprocessing = Field(PREPROCESSING, description="of a picture, before the backbone")
    job: str = Field(description="the id of the job that made it")
    training_file: str = Field(description="a file's id")
    validation_file: str | None = Field(description="a file's id, where one was given")
    checkpoint: str | None = Field(description="the checkpoint's id, where it is one")
    num_labels: int = Field(description="outputs of the head")
    labels: list[str] | None = Field(description="by the outputs of the head; null in lists")
    metrics: CheckpointMetrics | None = Field(description="of its last epoch, or with early_stopping of its best")
    evaluation: Evaluation | None = Field(description="on held-out images, with up to a hundred labels' scores")
    temperature: float = Field(
        description="by which logits are divided, so that probabilities are what they say; 1 if not fitted"
    )
    formats: list[Export] = Field(description="that GET …/content gives")


class ModelDeleted(BaseModel):
    id: str = Field(description="of the model that went")
    object: Object[Literal["model"]] = "model"
    deleted: bool = Field(True, description="always true")
