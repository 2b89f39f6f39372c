// A job's loss and accuracy, live.

import { save } from "../api.js";
import { Chart, colour } from "../chart.js";
import { Curves } from "../curves.js";
import { h } from "../dom.js";
import { percent } from "../words.js";

const NONE = { step: [], value: [] };

// `now()` is the job as it is.
export async function curvesOf(job, now) {
    const charts = [];
    const curves = new Curves(job.id, () => {
        charts.forEach((chart) => chart.paint());
        node.hidden = curves.empty;
    });
    const each = (name) => [...curves.trials].map(([trial, series]) => ({ trial, ...(series[name] ?? NONE) }));
    const style = (trial) => {
        const leads = trial === (now().best_trial ?? 0);
        return { label: curves.trials.size > 1 ? `trial ${trial}` : "", colour: colour(trial), width: leads ? 2.4 : 1 };
    };
    const losses = () => [
        ...each("train_loss").map(({ trial, ...line }) => ({
            ...line,
            ...style(trial),
            label: style(trial).label || "training",
        })),
        ...each("val_loss").map(({ trial, ...line }) => ({
            ...line,
            ...style(trial),
            label: `${style(trial).label} validation`.trim(),
            colour: curves.trials.size > 1 ? colour(trial) : colour(1),
            dash: [6, 4],
        })),
    ];
    const accuracies = () =>
        each("val_accuracy").map(({ trial, ...line }) => ({
            ...line,
            ...style(trial),
            label: style(trial).label || "validation",
            colour: curves.trials.size > 1 ? colour(trial) : colour(2),
        }));
    charts.push(
        new Chart("Loss by step", losses),
        new Chart("Accuracy on held-out images", accuracies, { range: [0, 1], value: (v) => percent(v, 0) }),
    );
    const path = `v1/fine_tuning/jobs/${job.id}/metrics?format=csv`;
    const csv = h("button.quiet", { onclick: () => save(path, `${job.id}.csv`) }, "all points as CSV");
    const node = h(
        "section.card",
        { "aria-label": "Curves" },
        h(
            "div.charts",
            charts.map((chart) => chart.node),
        ),
        h("p", csv),
    );
    await curves.load();
    const paint = () => charts.forEach((chart) => chart.paint());
    return { node, paint, close: () => [curves, ...charts].forEach((part) => part.close()) };
}
