"""How good a job's model became, for a terminal: against chance, where it fails, and how its loss fell."""

from typing import Any

from rich.console import Console

from services.client.api import Headway
from services.client.terminal import shown

WORST = 3  # labels that are named
MISTAKES = 5  # pictures that are named
HEIGHT, WIDTH = 6, 60  # of the plot: lines, columns
EIGHTHS = " ▁▂▃▄▅▆▇█"


def tell_verdict(api: Headway, job: dict[str, Any], console: Console) -> None:
    """Of a job that has succeeded; nothing where nothing was held out."""
    evaluation = job["evaluation"]
    if evaluation is None:
        return
    for line in _plot(api, job, console):
        console.print(line, style="dim", highlight=False, markup=False)
    scores = [score for score in evaluation["labels"] if score["images"]]
    console.print(f"\n[bold green]accuracy {_accuracy(evaluation, scores)}[/]", highlight=False)
    worst = [score for score in sorted(scores, key=lambda score: score["f1"]) if score["f1"] < 1][:WORST]
    if worst:
        some = ", ".join(f"{shown(score['label'])} (F1 {score['f1']:.2f})" for score in worst)
        console.print(f"  worst labels: {some}", highlight=False, markup=False, soft_wrap=True)
    for image in api.mistakes(job["id"], MISTAKES):
        is_taken = f"is {image['label']}, taken for {image['predicted']} ({100 * image['probability']:.0f} %)"
        console.print(f"  {shown(image['path'])} {shown(is_taken)}", highlight=False, markup=False, soft_wrap=True)


def _accuracy(evaluation: dict[str, Any], scores: list[dict[str, Any]]) -> str:
    said = f"{evaluation['accuracy']:.3f} on {evaluation['images']} held-out images"
    if not scores:  # of so many labels that a job does not show each
        return said
    largest = max(score["images"] for score in scores) / evaluation["images"]
    return f"{said}; by chance {1 / len(scores):.3f}, by the largest label {largest:.3f}"


def _plot(api: Headway, job: dict[str, Any], console: Console) -> list[str]:
    """The training loss from the first step to the last, where the terminal has room and block characters."""
    if not console.is_terminal or console.encoding != "utf-8" or console.width < WIDTH + 20:
        return []
    losses = api.metrics(job["id"])["series"]["train_loss"]["value"]
    return [] if len(losses) < 2 else plotted(losses)


def plotted(values: list[float]) -> list[str]:
    """HEIGHT lines of bars, each the mean of its share of the values; the highest and the lowest beside them."""
    width, count = min(WIDTH, len(values)), len(values)
    shares = [values[count * i // width : count * (i + 1) // width] for i in range(width)]
    means = [sum(share) / len(share) for share in shares]
    least, most = min(means), max(means)
    eighths = [round((mean - least) / ((most - least) or 1) * (8 * HEIGHT - 1)) + 1 for mean in means]
    beside = {HEIGHT - 1: f"{most:.3g} loss", 0: f"{least:.3g}"}
    lines = []
    for row in reversed(range(HEIGHT)):
        bars = "".join(EIGHTHS[min(8, max(0, height - 8 * row))] for height in eighths)
        lines.append(f"  {bars.ljust(WIDTH)} {beside.get(row, '')}".rstrip())
    return lines
