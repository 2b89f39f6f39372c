"""The body of `POST /v1/fine_tuning/jobs`."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, FiniteFloat, StringConstraints, model_validator

from services.contract.layout import Layout
from services.contract.recipe import AskedRecipe, Auto, Strict, conflict
from services.contract.weights import JobWeights

Device = Literal["auto", "cuda", "mps", "cpu"]
BaseNetwork = Literal["resnet18"]
FileId = Annotated[str, StringConstraints(min_length=1, max_length=64)]

DEFAULT_SPLIT = 0.2
NAME = 32  # characters of the longest field's name: a null under a longer one is no field's
OPENAI_ONLY = frozenset({"integrations"})  # of OpenAI's body: may be null here


def without_nulls(body: dict[str, Any]) -> dict[str, Any]:
    """Without what is null, at every level; but a null of a field that there is not stays, to be refused by name."""
    known = {*CreateJob.model_fields, *OPENAI_ONLY}
    kept = {name: value for name, value in body.items() if value is not None or name not in known}
    return {name: _within(value) if name != "metadata" else value for name, value in kept.items()}


def _within(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _within(inner) for name, inner in value.items() if inner is not None or len(name) > NAME}


class Limits(Strict):
    max_seconds: Annotated[FiniteFloat, Field(gt=0)] | None = Field(
        None, description="s that workers may hold it, all attempts together; null: no limit"
    )
    max_workers: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        description="that compute its features at a time, with its owner; 1: none helps; null: all idle ones",
    )


class CreateJob(AskedRecipe):
    """A fine-tuning job, in OpenAI's form (`method` or `hyperparameters`) or in the plain one (the fields here)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "training_file": "file-01kax7k0000000000000000000",
                    "num_labels": 10,
                    "learning_rate": 0.01,
                    "momentum": 0.9,
                }
            ]
        }
    )

    model: BaseNetwork = Field("resnet18", description="the backbone, which stays as it is")
    weights: JobWeights | None = Field(
        None, description='"default" (ImageNet) or "random:N"; HEADWAY_WEIGHTS if left out'
    )
    training_file: FileId = Field(description="a file's id")
    validation_file: FileId | None = Field(
        None, description="a file's id: its val images validate, else its train, else its test images"
    )
    layout: Layout | None = Field(
        None, description="what the training file's folders mean, where it is not what the file's report says"
    )
    split: Annotated[FiniteFloat, Field(ge=0, lt=1)] | None = Field(
        None,
        description=f"share held out for validation, stratified; {DEFAULT_SPLIT} where no validation data is given",
    )
    num_labels: Annotated[int, Field(ge=2, le=10_000)] | Auto = Field(
        "auto", description='outputs of the head; "auto": as many as the training file has labels'
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        None, description="of the first head, the split and the shuffles; null: 0"
    )
    device: Device = Field("auto", description='the kind to wait for; "auto": any')
    priority: int = Field(0, ge=0, le=9, description="higher goes first, among the jobs of one tenant")
    limits: Limits = Field(Limits(), description="beyond which it fails")
    suffix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = Field(
        None, description="for the model's name: ft:resnet18:suffix:…"
    )
    metadata: (
        Annotated[
            dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]],
            Field(max_length=16),
        ]
        | None
    ) = Field(None, description="pairs of your own; jobs are also listed by them")

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, body: Any) -> Any:
        """As wrappers of the `openai` package send what nobody set."""
        return without_nulls(body) if isinstance(body, dict) else body

    @model_validator(mode="after")
    def _validation_comes_from_one_place(self) -> Self:
        if self.validation_file is not None and self.split:
            raise conflict("split", "give validation_file or split, not both")
        return self
