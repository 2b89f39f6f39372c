"""A job, as its trainer carries it out: load, extract, train, evaluate, export."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from services.contract.contents import Split
from services.contract.errors import LossDiverged
from services.contract.evaluation import Evaluation
from services.contract.lines import DoneLine, EvaluationLine, PhaseLine
from services.contract.model import output_names
from services.contract.progress import Progress, Trial
from services.contract.spec import TrainerSpec
from workers.trainer import checkpoint
from workers.trainer.calibrate import calibration_error, fitted, logits_of
from workers.trainer.doubts import doubts
from workers.trainer.evaluate import evaluate
from workers.trainer.export import export
from workers.trainer.features import Features
from workers.trainer.judged import write_judged
from workers.trainer.order import due
from workers.trainer.receipt import receipt
from workers.trainer.report import Report
from workers.trainer.state import Position, TrainingState
from workers.trainer.table import Table
from workers.trainer.train import Training
from workers.trainer.trained import Trained
from workers.vision import dataset
from workers.vision.backbone import Backbone
from workers.vision.dataset import Dataset, Example
from workers.vision.shards import Helpers

SCORES = 1_000  # labels of all trials together up to which each trial's own scores are told


@dataclass(frozen=True)
class HeldOut:
    """What the model is judged on in the end: the readable images of the test set where there is one, else of the
    validation set. A row of `table` for each of `examples`."""

    split: Split
    examples: list[Example]
    table: Table

    @classmethod
    def of(cls, data: Dataset, val: Table, test: Table) -> "HeldOut":
        split: Split = "test" if len(test) else "val"
        examples, table = (data.test, test.whole()) if split == "test" else (data.val, val.whole())
        readable = [example for example, is_readable in zip(examples, table.readable, strict=True) if is_readable]
        return cls(split, readable, table.only_readable())


def run(
    spec: TrainerSpec,
    report: Report,
    stop_asked: Callable[[], bool],
    spare: Backbone | None = None,
    helpers: Helpers | None = None,
) -> None:
    """`spare` is used where it is the backbone that is asked for; `helpers` may compute features. Raises Stopped (after
    a checkpoint), JobFailure."""
    report.begin(spec.timing, is_traced=spec.trace is not None)
    with report.span("load"):
        backbone = _ready(spec, report, spare)
        data = dataset.load(spec)

    with Features(spec, data, _order(spec, data), backbone, report, stop_asked, helpers) as features:
        train, val, test = features.tables()
        training = Training(spec, train, val, report, stop_asked)
        with report.span("train"):
            state = training.run()
        held_out, validation = HeldOut.of(data, val, test), val.whole()

    leader = training.ranking.leader()
    report.say(PhaseLine(progress=_phase(training, "evaluating", 99.0)))
    with report.span("evaluate"):
        folded = _folded(state, leader)
        temperature = fitted(spec, data.val, validation, backbone, folded)
        evaluation = _judged(spec, training, held_out, folded, temperature, report)

    report.say(PhaseLine(progress=_phase(training, "exporting", 99.5)))
    with report.span("export"):
        made = receipt(spec, data, backbone, spec.trials[leader])
        labels, out = output_names(spec.labels, spec.num_labels), Path(spec.out)
        trained = Trained(backbone.network, folded, labels, made, evaluation, temperature)
        judged = write_judged(trained, held_out.examples, held_out.table, out) if held_out.examples else None
        exports = export(trained, out)
    report.say(DoneLine(exports=exports, receipt=made, temperature=temperature, judged=judged))


def _judged(
    spec: TrainerSpec, training: Training, held_out: HeldOut, folded: nn.Linear, temperature: float, report: Report
) -> Evaluation | None:
    """On the images that were held out, if any were; and what makes one doubt it."""
    evaluation, leader = None, training.ranking.leader()
    if held_out.examples:
        line = _evaluation(spec, training, held_out)
        evaluation = line.evaluation = _with_calibration(line.evaluation, held_out.table, folded, temperature)
        report.say(line)
    for doubt in doubts(spec, training.state.standings[leader], spec.trials[leader], evaluation):
        report.say(doubt)
    return evaluation


def _ready(spec: TrainerSpec, report: Report, spare: Backbone | None) -> Backbone:
    report.say(PhaseLine(progress=report.progress(phase="starting")))
    with report.at_length():  # weights may have to be downloaded
        return spare if spare and spare.prepared == spec.prepared else Backbone(spec.prepared, spec.timing)


def _order(spec: TrainerSpec, data: Dataset) -> list[int]:
    """Images of `data.all` by when they are needed: this epoch's, those held out, the next epoch's, the test's."""
    at = checkpoint.position(Path(spec.resume)) if spec.resume else Position()
    train, val = len(data.train), len(data.val)
    now, later = due(spec, train, at)
    return [*now, *range(train, train + val), *later, *range(train + val, len(data.all))]


def _folded(state: TrainingState, leader: int) -> nn.Linear:
    """The layer on raw features that becomes the model. Raises LossDiverged."""
    folded = state.scaler.folded(state.head(leader))
    if not all(bool(torch.isfinite(tensor).all()) for tensor in folded.state_dict().values()):
        raise LossDiverged("The weights are not finite once the scaling is folded into them: lower learning_rate.")
    return folded


def _with_calibration(evaluation: Evaluation, held_out: Table, folded: nn.Linear, temperature: float) -> Evaluation:
    logits, labels = logits_of(folded, held_out), held_out.labels.numpy()
    before, after = (calibration_error(logits, labels, by) for by in (1.0, temperature))
    return evaluation.model_copy(update={"ece": before, "calibrated_ece": after})


def _phase(training: Training, phase: str, percent: float) -> Progress:
    return training.progress().model_copy(update={"phase": phase, "percent": percent})


def _evaluation(spec: TrainerSpec, training: Training, held_out: HeldOut) -> EvaluationLine:
    """Of every trial, in full of the best one."""
    state = training.state
    judged = held_out.table
    table = Table(state.scaler(judged.features), judged.labels, judged.readable)
    labels = output_names(spec.labels, spec.num_labels)
    trials = training.standings()
    for trial in trials:
        if trial.status != "diverged":
            trial.evaluation = evaluate(state.head(trial.trial).layer(), table, labels, held_out.split)
    best = trials[training.ranking.leader()].evaluation
    assert best is not None
    if not math.isfinite(best.loss):
        raise LossDiverged("The loss on the held-out images is not finite: lower learning_rate or momentum.")
    told = [_summarised(trial, scores=len(trials) * len(labels) <= SCORES) for trial in trials]
    return EvaluationLine(evaluation=best, trials=told)


def _summarised(trial: Trial, *, scores: bool) -> Trial:
    """Without the matrix, which only the best trial shows; and without the labels' scores where they are too many."""
    if trial.evaluation is None:
        return trial
    less: dict[str, Any] = {"confusion": []} | ({} if scores else {"labels": []})
    return trial.model_copy(update={"evaluation": trial.evaluation.model_copy(update=less)})
