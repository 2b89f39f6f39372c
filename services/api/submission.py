"""From what was asked to a job that can run: checked against the files' contents, resolved, with every number known."""

from collections.abc import Iterator
from math import ceil
from typing import Any

from services.contract.asked import DEFAULT_SPLIT, CreateJob, without_nulls
from services.contract.contents import Contents, Split
from services.contract.errors import InvalidRequest
from services.contract.job import JobWarning
from services.contract.recipe import CheckpointPlan, Recipe
from services.contract.spec import JobSpec
from services.settings import Settings
from services.store.files import FileRecord

MAX_POINTS = 1_000_000  # of a job's series, 9 MB; where it would have more, each k-th is kept
MAX_OUTPUTS = 65_536  # of all heads of a job together: their weights, momentum and best take 400 MB then
OUTPUT_BYTES = 4 * 513  # of one output's weights and bias
MAX_KEPT = 256 * 1024**2  # bytes of a job's checkpoints


def resolve(
    asked: CreateJob, body: dict[str, Any], training: FileRecord, validation: FileRecord | None, settings: Settings
) -> tuple[JobSpec, list[JobWarning]]:
    """The spec, and what its user should know. `training` as the job lays it out. Raises InvalidRequest, naming the
    field."""
    labels = _labels(training.contents)
    num_labels = len(labels) if asked.num_labels == "auto" else asked.num_labels
    if num_labels < len(labels):
        raise InvalidRequest(
            f"num_labels: {num_labels} is less than the {len(labels)} labels in the training file", param="num_labels"
        )
    split = _split(asked, training.contents, validation)
    _refuse_unknown_labels(labels, training, validation)
    has_validation = _has_validation(split, training.contents, validation)
    _refuse_what_cannot_be(asked, labels, num_labels, has_validation=has_validation)
    points = _points(asked, sum(training.contents.of("train").values()))
    kept = _kept(asked, num_labels)
    recipe = asked.fields_of(Recipe) | {"export": sorted(set(asked.export)), "checkpoints": kept}
    spec = JobSpec(
        **recipe,
        model=asked.model,
        weights=asked.weights or settings.job_weights,
        training_file=training.id,
        validation_file=validation.id if validation else None,
        layout=asked.layout,
        index=training.index if asked.layout else None,
        split=split,
        num_labels=num_labels,
        hyperparameters=asked.resolved(),
        seed=asked.seed or 0,
        device=asked.device,
        priority=asked.priority,
        limits=asked.limits,
        suffix=asked.suffix,
        metadata=asked.metadata,
        asked=without_nulls(body),
        points_every=ceil(points / MAX_POINTS),
    )
    return spec, list(_warnings(spec, labels, training, has_validation=has_validation))


def _labels(contents: Contents) -> list[str]:
    labels = contents.names
    if not labels:
        raise InvalidRequest(
            "training_file: it has no training images (only val or test); it can be a validation_file",
            param="training_file",
        )
    if len(labels) < 2:
        raise InvalidRequest(
            f"training_file: it has one label only ({labels[0]!r}); a classifier needs at least two",
            param="training_file",
        )
    return labels


def _split(asked: CreateJob, training: Contents, validation: FileRecord | None) -> float:
    """The share to hold out; 0 where validation images are given."""
    if validation is not None:
        return 0.0
    if "val" in training.splits_left_out and asked.split is None:
        raise InvalidRequest(
            "split: the training file's val has none of train's labels and was left out: state a split, as 0.2, or "
            "a validation_file",
            param="split",
        )
    if training.of("val"):
        if asked.split:
            raise InvalidRequest("split: the training file has a val folder already; leave split out", param="split")
        return 0.0
    return DEFAULT_SPLIT if asked.split is None else asked.split


def _has_validation(split: float, training: Contents, validation: FileRecord | None) -> bool:
    """Whether any image is held out: of a label with one image, none is."""
    if validation is not None:
        return validation.contents.validating is not None
    return bool(training.of("val")) or (split > 0 and max(training.of("train").values()) > 1)


def _refuse_what_cannot_be(asked: CreateJob, labels: list[str], num_labels: int, *, has_validation: bool) -> None:
    _refuse_without_validation(asked, has_validation)
    _refuse_too_large(asked, num_labels)
    _refuse_weights(asked, labels)


def _refuse_without_validation(asked: CreateJob, has_validation: bool) -> None:
    for param in ("early_stopping", "sweep"):
        if getattr(asked, param) is not None and not has_validation:
            raise InvalidRequest(f"{param}: needs a validation set: give validation_file or a split", param=param)


def _refuse_weights(asked: CreateJob, labels: list[str]) -> None:
    if isinstance(asked.class_weights, dict):
        unknown = sorted(asked.class_weights.keys() - set(labels))
        if unknown:
            said = f"class_weights: {', '.join(map(repr, unknown[:5]))} is not among the training labels"
            raise InvalidRequest(said, param="class_weights")


def _refuse_too_large(asked: CreateJob, num_labels: int) -> None:
    """Heads that would not fit in memory."""
    trials = len(asked.trials)
    if trials * num_labels > MAX_OUTPUTS:
        raise InvalidRequest(
            f"sweep: {trials} trials of {num_labels} labels are more than {MAX_OUTPUTS} outputs: try fewer trials",
            param="sweep",
        )


def _kept(asked: CreateJob, num_labels: int) -> CheckpointPlan:
    """As asked, if they fit; fewer than the default of them, where nobody asked for more."""
    bytes = (
        len(asked.trials) * num_labels * OUTPUT_BYTES * (3 if asked.early_stopping else 2)
    )  # weights, momentum, best
    most = max(1, MAX_KEPT // bytes - 2)  # beside them stand the first and the best
    if asked.checkpoints.keep <= most:
        return asked.checkpoints
    if "keep" in asked.checkpoints.model_fields_set:
        raise InvalidRequest(
            f"checkpoints.keep: they take {bytes} bytes each, and together more than {MAX_KEPT}: keep {most} at most",
            param="checkpoints.keep",
        )
    return asked.checkpoints.model_copy(update={"keep": most})


def _points(asked: CreateJob, images: int) -> int:
    """At most: each trial's losses, and two numbers of each validation."""
    return sum(hp.n_epochs * (ceil(images / hp.batch_size) + 2) for hp in asked.trials)


def _refuse_unknown_labels(labels: list[str], training: FileRecord, validation: FileRecord | None) -> None:
    """Held-out images of a label that training never sees could only be wrong."""
    held_out: list[tuple[str, FileRecord, tuple[Split, ...]]] = [("training_file", training, ("val", "test"))]
    if validation is not None:
        held_out.append(("validation_file", validation, ("train", "val", "test")))
    for param, file, splits in held_out:
        unknown = sorted({label for split in splits for label in file.contents.of(split)} - set(labels))
        if unknown:
            raise InvalidRequest(
                f"{param}: {', '.join(map(repr, unknown[:5]))} is not among the training labels", param=param
            )


def _warnings(spec: JobSpec, labels: list[str], training: FileRecord, *, has_validation: bool) -> Iterator[JobWarning]:
    yield from (JobWarning(code=f.code, message=f"{f.message} {f.remedy}".strip()) for f in training.findings)
    if spec.num_labels != len(labels):
        message = f"num_labels is {spec.num_labels}; the file has {len(labels)} labels, the others are never learned."
        yield JobWarning(code="more_outputs_than_labels", message=message)
    if spec.points_every > 1:
        message = (
            f"It has more steps than a series keeps: of each trial's, every {spec.points_every}th is told and kept."
        )
        yield JobWarning(code="points_thinned", message=message)
    if not has_validation and spec.split > 0:
        message = "No image can be held out, as no label has two: the model will not be validated."
        yield JobWarning(code="no_validation", message=message)
