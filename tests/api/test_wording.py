"""What is said of a wrong field: its name, its value, and what to write instead."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.api.conftest import problem
from tests.drawing import shapes, zipped

Submit = Callable[..., httpx.Response]


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"epochs": 3}, "epochs", "did you mean n_epochs?"),
        ({"lr": 0.1}, "lr", "did you mean learning_rate?"),
        ({"learning_rate": "0,01"}, "learning_rate", "'0,01' is a text: write 0.01, without quotes"),
        ({"n_epochs": "ten"}, "n_epochs", "'ten' is a text: give a number, as 3"),
        ({"learning_rate": -1}, "learning_rate", "should be greater than 0, not -1"),
        ({"suffix": "a b"}, "suffix", "'a b' is not taken: use letters, digits"),
        ({"sweep": [1]}, "sweep", "give an object, not a list"),
        ({"hyperparameters": "fast"}, "hyperparameters", "give an object, not 'fast'"),
        ({"feature_scaling": "std"}, "feature_scaling", "should be 'none' or 'standard', not 'std'"),
        ({"layout": {"trian": "x"}}, "layout.trian", "did you mean train?"),
        (
            {"class_weights": {"circle": -1}},
            "class_weights.circle",
            "greater than or equal to 0.000001, not -1",
        ),
        ({"class_weights": {"hexagon": 2}}, "class_weights", "'hexagon' is not among the training labels"),
        ({"max_unreadable": 2}, "max_unreadable", "should be less than or equal to 1, not 2"),
        ({"metadata": {"a": "x" * 600}}, "metadata.a", "…"),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_a_remedy(
    submit: Submit, body: dict[str, Any], param: str, said: str
) -> None:
    refused = problem(submit(**body), 422)
    assert refused["error"]["param"] == param
    assert said in refused["detail"]
    for word in ("pattern", "dictionary", "extract", "^"):
        assert word not in refused["detail"]


@pytest.mark.parametrize("content", [b"x", bytes(100_000)], ids=["small", "large"])
@pytest.mark.parametrize(("name", "meant"), [("files", "file"), ("archive", "file"), ("layuot", "layout")])
def test_a_wrongly_named_field_of_the_form_is_named(api: httpx.Client, name: str, meant: str, content: bytes) -> None:
    parts = {name: ("a.zip", content), "file": ("a.zip", zipped(shapes(2)))}
    refused = problem(api.post("/v1/files", data={"purpose": "fine-tune"}, files=parts), 422)
    assert refused["error"]["param"] == name
    assert f"did you mean {meant}?" in refused["detail"]
