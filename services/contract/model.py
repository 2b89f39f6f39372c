"""What a job that succeeded leaves: its model, and the receipt of how it was made."""

from pydantic import BaseModel

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
    """`place` is the model's folder in the store of bytes, and `exports` are places in it."""

    model: str
    place: str
    exports: dict[Export, str]
    receipt: Receipt
