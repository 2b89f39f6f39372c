from typing import Any

import pytest
from pydantic import ValidationError

from services.contract.asked import CreateJob
from services.contract.job import Job
from services.contract.model import Receipt
from services.contract.recipe import AskedHyperparameters, Hyperparameters, Recipe, Sweep
from services.contract.spec import JobSpec, TrainerSpec

FILE = "file-00000000000000000000000000"


def asked(**body: Any) -> CreateJob:
    return CreateJob.model_validate({"training_file": FILE} | body)


def test_the_defaults_are_those_of_the_tutorial() -> None:
    resolved = asked().resolved()
    assert (resolved.learning_rate, resolved.momentum, resolved.weight_decay) == (1e-2, 0.9, 0.0)
    assert (resolved.batch_size, resolved.n_epochs, resolved.lr_schedule) == (64, 10, "constant")


def test_the_plain_form_and_both_of_openais_forms_say_the_same() -> None:
    hyperparameters = {"learning_rate_multiplier": 0.5, "batch_size": 8, "n_epochs": 3}
    plain = asked(learning_rate=0.005, batch_size=8, n_epochs=3)
    old = asked(hyperparameters=hyperparameters)
    new = asked(method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}})
    assert plain.resolved() == old.resolved() == new.resolved()


def test_auto_is_the_default_wherever_openai_allows_it() -> None:
    auto = {"learning_rate_multiplier": "auto", "batch_size": "auto", "n_epochs": "auto"}
    assert asked(hyperparameters=auto).resolved() == asked().resolved()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", -0.1),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("learning_rate", "0.1"),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("momentum", float("nan")),
        ("weight_decay", -1e-4),
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("n_epochs", 0),
        ("n_epochs", True),
        ("num_labels", 1),
        ("num_labels", "ten"),
        ("split", 1.0),
        ("split", -0.1),
        ("priority", 10),
        ("seed", -1),
        ("seed", 2**63),
        ("precision", "fp8"),
        ("device", "tpu"),
        ("weights", "random:"),
        ("weights", "/etc/passwd"),
        ("export", ["exe"]),
        ("suffix", "a/b"),
        ("suffix", "x" * 65),
        ("limits", {"max_seconds": 0}),
        ("early_stopping", {"patience": 0}),
        ("metadata", {"k": "v" * 513}),
        ("learning_rat", 0.1),
        ("sweep", {}),
        ("sweep", {"learning_rate": []}),
        ("sweep", {"learning_rate": [0.0]}),
        ("sweep", {"n_epochs": [1, 2]}),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        asked(**{field: value})
    assert refused.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize(
    "body",
    [
        {"learning_rate": 0.1, "hyperparameters": {"learning_rate_multiplier": 1.0}},
        {"learning_rate": 0.1, "learning_rate_multiplier": 10.0},
        {"n_epochs": 3, "method": {"supervised": {"hyperparameters": {"n_epochs": 4}}}},
        {"validation_file": FILE, "split": 0.1},
    ],
)
def test_what_contradicts_itself_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"not both|given twice"):
        asked(**body)


def test_a_sweep_is_a_grid_whose_last_axis_is_fastest() -> None:
    sweep = Sweep(momentum=[0.0, 0.9], learning_rate=[0.1, 0.01])
    trials = sweep.trials(Hyperparameters(n_epochs=3))
    assert [(t.learning_rate, t.momentum, t.n_epochs) for t in trials] == [
        (0.1, 0.0, 3),
        (0.1, 0.9, 3),
        (0.01, 0.0, 3),
        (0.01, 0.9, 3),
    ]


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"learning_rate": 0.1, "sweep": {"learning_rate": [0.1, 0.2]}}, "learning_rate", "not both"),
        ({"hyperparameters": {"batch_size": 8}, "sweep": {"batch_size": [8, 16]}}, "batch_size", "not both"),
        ({"sweep": {"momentum": [0.5, 0.5]}}, "sweep.momentum", "twice"),
        (
            {"sweep": {"momentum": [i / 10 for i in range(9)], "weight_decay": [float(i) for i in range(8)]}},
            "sweep",
            "72 trials",
        ),
    ],
)
def test_a_sweep_that_is_no_grid_is_refused_and_says_why(body: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        asked(**body)
    (error,) = refused.value.errors()
    assert error["ctx"]["param"] == param
    assert says in error["msg"]


@pytest.mark.parametrize(
    "body",
    [
        {"nesterov": True, "momentum": 0.0},
        {"hyperparameters": {"nesterov": True}, "momentum": 0.0},
        {"nesterov": True, "sweep": {"momentum": [0.0, 0.9]}},
    ],
)
def test_nesterov_needs_momentum_in_every_trial(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        asked(**body)
    assert error.value.errors()[0]["ctx"]["param"] == "nesterov"
    assert asked(nesterov=True).resolved().nesterov
    assert not asked(nesterov=None).resolved().nesterov


def test_a_hyperparameter_is_spelled_once_and_stands_in_every_form() -> None:
    """Asked in all of its forms, resolved, kept, handed to a trainer, shown and receipted: all of it is one class."""
    for kind in (JobSpec, TrainerSpec, Receipt):
        assert kind.model_fields["hyperparameters"].annotation is Hyperparameters
    assert Job.model_fields["resolved_hyperparameters"].annotation is Hyperparameters
    assert issubclass(AskedHyperparameters, Hyperparameters)
    assert all(issubclass(kind, Recipe) for kind in (CreateJob, JobSpec, TrainerSpec, Job, Receipt))
