"""What a job that succeeded should not be silent about: that it learned nothing, or was never judged."""

from collections.abc import Iterator

from services.contract.evaluation import Evaluation
from services.contract.lines import WarningLine
from services.contract.recipe import Hyperparameters
from services.contract.spec import TrainerSpec
from workers.trainer.state import Standing


def doubts(
    spec: TrainerSpec, standing: Standing, hyperparameters: Hyperparameters, evaluation: Evaluation | None
) -> Iterator[WarningLine]:
    """Of the trial that became the model."""
    if evaluation is None:
        if spec.validation is not None or spec.split > 0:
            message = "No image was left to validate with: nobody knows how good the model is."
            yield WarningLine(code="no_validation", message=f"{message} Add pictures, or give a validation_file.")
    elif (baseline := _baseline(evaluation))[0] >= evaluation.accuracy:
        message = f"The accuracy, {evaluation.accuracy:.3f}, is no better than {baseline[1]} ({baseline[0]:.3f})."
        yield WarningLine(code="no_better_than_chance", message=f"{message} {_advice(spec, hyperparameters)}")
    first, last = standing.first_loss, standing.usual_loss
    if first is not None and last is not None and last > first:
        message = f"The loss ended at some {last:.3g}, above where it began ({first:.3g})."
        yield WarningLine(code="loss_rose", message=f"{message} {_advice(spec, hyperparameters)}")


def _baseline(evaluation: Evaluation) -> tuple[float, str]:
    """The best accuracy that needs no picture, and what gives it."""
    seen = [label for label in evaluation.labels if label.images]
    largest = max(seen, key=lambda label: label.images)
    chance, always = 1 / len(evaluation.labels), largest.images / evaluation.images
    return (always, f"always saying {largest.label!r}") if always > chance else (chance, "chance")


def _advice(spec: TrainerSpec, hyperparameters: Hyperparameters) -> str:
    if spec.feature_scaling == "none":
        return 'Try feature_scaling="standard".'
    return f"Try a learning_rate below {hyperparameters.learning_rate:g}, more epochs, or look at the labels."
