"""`headway replay`: a job trained again from its model's receipt, and both curves side by side."""

from typing import Annotated, Any

import typer

from services.client.options import ApiKey, Url, service
from services.client.progress import watch
from services.client.terminal import console, fail, print_plain
from services.client.train import tell_end

app = typer.Typer()

SAME = 1e-4  # of a loss: what fp32 promises on whatever device
RECIPE = ("feature_scaling", "class_weights", "precision", "max_unreadable", "early_stopping", "checkpoints", "seed")
SURROUNDINGS = ("data_sha256", "weights_sha256", "preprocess", "precision", "engine", "device", "versions")


@app.command()
def replay(
    job: Annotated[str, typer.Argument(help="the id of a job that succeeded")], url: Url = None, api_key: ApiKey = None
) -> None:
    """Train a job's model again, from its receipt, and compare the two loss curves."""
    with service(url, api_key) as api:
        first = api.job(job)
        if first["fine_tuned_model"] is None:
            fail(f"{job} has no model: it has not succeeded.")
        receipt = api.manifest(first["fine_tuned_model"])
        again = api.submit(body_of(first, receipt))
        console.print(f"submitted {again['id']}", highlight=False)
        ended = watch(api, again["id"], console)
        tell_end(ended)
        apart = _apart(_curve(api.metrics(job), first), _curve(api.metrics(again["id"]), ended))
        changed = _changed(receipt, api.manifest(ended["fine_tuned_model"]))
    for what in changed:
        print_plain(f"  {what} differs from the first time")
    if apart is None:
        fail("The two curves have no step in common.")
    steps, most = apart
    verdict = "the same curve" if most <= SAME else "another curve"
    print_plain(f"{verdict}: over {steps} steps the losses are at most {most:.2g} apart")
    raise typer.Exit(0 if most <= SAME else 1)


def body_of(job: dict[str, Any], receipt: dict[str, Any]) -> dict[str, Any]:
    """What to submit: of a sweep, the trial that became the model."""
    body: dict[str, Any] = {name: receipt[name] for name in RECIPE if receipt[name] is not None} | receipt[
        "hyperparameters"
    ]
    body |= {name: job[name] for name in ("training_file", "num_labels", "weights")}
    body |= {name: job[name] for name in ("validation_file", "layout") if job[name] is not None}
    if job["split"] and job["validation_file"] is None:
        body["split"] = job["split"]
    kind = receipt["device"]["name"].partition(":")[0]
    return body | {"device": kind, "export": [], "suffix": "replay", "metadata": {"replays": job["id"]}}


def _curve(metrics: dict[str, Any], job: dict[str, Any]) -> dict[int, float]:
    """The loss at each step, of the trial that became the model."""
    series = metrics["trials"][job["best_trial"] or 0]["series"] if metrics["trials"] else metrics["series"]
    losses = series["train_loss"]
    curve: dict[int, float] = dict(zip(losses["step"], losses["value"], strict=True))
    return curve


def _apart(first: dict[int, float], again: dict[int, float]) -> tuple[int, float] | None:
    """Over how many steps, and by how much at most."""
    common = first.keys() & again.keys()
    if not common:
        return None
    return len(common), max(abs(first[step] - again[step]) for step in common)


def _changed(first: dict[str, Any], again: dict[str, Any]) -> list[str]:
    return [name for name in SURROUNDINGS if first[name] != again[name]]
