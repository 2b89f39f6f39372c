"""What a job that succeeded leaves: its model, and the receipt of how it was made."""

from typing import Final, Literal

from pydantic import BaseModel, Field

from services.contract.evaluation import Evaluation
from services.contract.progress import CheckpointMetrics
from services.contract.recipe import Export, Precision, ResolvedRecipe


class ImageCounts(BaseModel):
    train: int
    val: int
    test: int


class ComputeDevice(BaseModel):
    name: str
    model: str
    processor: str


class HeadCompute(BaseModel):
    """How the head was trained: the same for every attempt, never chosen by a timing."""

    device: str = "cpu"
    path: str = "numpy"
    threads: int = 1


class Receipt(ResolvedRecipe):
    """Everything to replay the job. `hyperparameters` are those of the trial that became the model."""

    images: ImageCounts
    data_sha256: str
    weights: str
    weights_sha256: str
    preprocess: str
    precision: Precision
    device: ComputeDevice
    head: HeadCompute = HeadCompute()
    versions: dict[str, str]


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


class Preprocessing(BaseModel):
    """From an upright RGB picture to the backbone's input: torchvision's `ResNet18_Weights.DEFAULT.transforms()`."""

    resize: int = Field(256, description="pixels that the short side becomes, bilinear with antialias")
    crop: int = Field(224, description="pixels of the square that is cut from the middle")
    mean: list[float] = Field([0.485, 0.456, 0.406], description="of each channel's values in 0 to 1")
    std: list[float] = Field([0.229, 0.224, 0.225], description="by which they are divided, once the mean is off")


PREPROCESSING: Final = Preprocessing()


class Model(BaseModel):
    """OpenAI's `model`, and what we add: one that a job left, or one of its checkpoints."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix time, s")
    owned_by: str = Field(description="the tenant")
    expires_at: int | None = Field(
        description="Unix time, s: it goes with its job, where HEADWAY_RETENTION_DAYS is set"
    )
    base_model: str = Field("resnet18", description="the frozen backbone")
    weights: str = Field(description='the backbone\'s: "default" (ImageNet) or "random:N"')
    weights_sha256: str | None = Field(description="of the backbone's tensors; null of a checkpoint")
    preprocessing: Preprocessing = PREPROCESSING
    job: str = Field(description="the id of the job that made it")
    training_file: str
    validation_file: str | None
    checkpoint: str | None = Field(description="the checkpoint's id, where it is one")
    num_labels: int
    labels: list[str] | None = Field(description="by the outputs of the head; null in lists")
    metrics: CheckpointMetrics | None = Field(description="of its last epoch")
    evaluation: Evaluation | None = Field(description="on held-out images, with up to a hundred labels' scores")
    temperature: float = Field(
        description="by which logits are divided, so that probabilities are what they say; 1 if not fitted"
    )
    formats: list[Export] = Field(description="that GET …/content gives")


class ModelDeleted(BaseModel):
    id: str
    object: Literal["model"] = "model"
    deleted: bool = True
