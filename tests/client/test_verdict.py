"""The end of a job in a terminal: the plot of its loss."""

import math

from services.client.verdict import HEIGHT, WIDTH, plotted


def heights(lines: list[str]) -> list[int]:
    """Of each column, in eighths of a line."""
    rows = [line[2 : WIDTH + 2].ljust(WIDTH) for line in lines]
    return [sum(" ▁▂▃▄▅▆▇█".index(row[column]) for row in rows) for column in range(WIDTH)]


def test_a_loss_that_falls_is_drawn_as_falling_bars_with_its_ends_beside_them() -> None:
    lines = plotted([2 * math.exp(-i / 100) for i in range(600)])
    assert len(lines) == HEIGHT
    found = heights(lines)
    assert found == sorted(found, reverse=True)
    assert (found[0], found[-1]) == (8 * HEIGHT, 1)
    assert lines[0].endswith("1.91 loss")
    assert lines[-1].endswith("0.00524")


def test_few_values_and_equal_ones_are_drawn_too() -> None:
    assert heights(plotted([3.0, 1.0]))[:3] == [8 * HEIGHT, 1, 0]
    assert heights(plotted([1.0] * 5))[:6] == [1, 1, 1, 1, 1, 0]
