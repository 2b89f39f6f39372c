// A sweep: its trials as parallel coordinates and as a table.

import { colour } from "../chart.js";
import { h, show, svg, table } from "../dom.js";
import { number, percent } from "../words.js";

const WIDTH = 720;
const HEIGHT = 220;
const EDGE = 36;

export function trialsOf(now) {
    const lines = h("div.parallel");
    const rows = h("div");
    const node = h("section.card", { hidden: true }, h("h2", "Trials"), lines, rows);
    let shown = "";
    const light = (trial) =>
        node
            .querySelectorAll("[data-trial]")
            .forEach((one) => one.classList.toggle("lit", one.dataset.trial === String(trial)));

    function paint() {
        const { trials } = now();
        node.hidden = trials.length < 2;
        const says = JSON.stringify(trials);
        if (node.hidden || says === shown) return;
        shown = says;
        const axes = axesOf(trials);
        show(lines, drawing(trials, axes, light));
        show(rows, ranked(trials, axes, light));
    }
    return { node, paint };
}

const result = (trial) => trial.best ?? trial.metrics;
const loss = (trial) => result(trial).val_loss ?? Infinity;

function axesOf(trials) {
    const varied = Object.keys(trials[0].hyperparameters).filter(
        (name) => new Set(trials.map((trial) => trial.hyperparameters[name])).size > 1,
    );
    return [
        ...varied.map((name) => ({
            title: name.replaceAll("_", " "),
            of: (trial) => trial.hyperparameters[name],
            says: number,
            log: name === "learning_rate",
        })),
        { title: "loss", of: (trial) => result(trial).val_loss ?? result(trial).train_loss, says: number, log: true },
        { title: "accuracy", of: (trial) => result(trial).val_accuracy, says: percent },
    ];
}

function drawing(trials, axes, light) {
    const scales = axes.map((axis) => scaleOf(axis, trials));
    const x = (i) => EDGE + (i * (WIDTH - 2 * EDGE)) / Math.max(1, axes.length - 1);
    const picture = svg("svg", {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        role: "img",
        "aria-label": "Each trial as a line over its settings and results; the table below says the same.",
    });
    for (const trial of trials) {
        const points = scales.map((scale, i) => [x(i), scale.y(trial)]).filter(([, y]) => y !== null);
        const line = svg("polyline", {
            points: points.map((point) => point.join(",")).join(" "),
            class: trial.leads ? "leads" : "",
            "data-trial": trial.trial,
            stroke: colour(trial.trial),
        });
        line.addEventListener("pointerenter", () => light(trial.trial));
        line.addEventListener("pointerleave", () => light(null));
        picture.append(line);
    }
    axes.forEach((axis, i) => {
        const text = (y, says) => svg("text", { x: x(i), y, "text-anchor": "middle" }, says);
        picture.append(
            svg("line", { x1: x(i), x2: x(i), y1: EDGE, y2: HEIGHT - EDGE }),
            text(14, axis.title),
            text(EDGE - 6, scales[i].high),
            text(HEIGHT - EDGE + 16, scales[i].low),
        );
    });
    return picture;
}

function scaleOf(axis, trials) {
    const bend = (value) => (axis.log && value > 0 ? Math.log(value) : value);
    const values = trials.map(axis.of).filter((value) => Number.isFinite(value));
    const least = Math.min(...values);
    const most = Math.max(...values);
    const span = bend(most) - bend(least) || 1;
    return {
        low: values.length ? axis.says(least) : "",
        high: values.length ? axis.says(most) : "",
        y: (trial) =>
            Number.isFinite(axis.of(trial))
                ? HEIGHT - EDGE - ((bend(axis.of(trial)) - bend(least)) / span) * (HEIGHT - 2 * EDGE)
                : null,
    };
}

function ranked(trials, axes, light) {
    const best = [...trials].sort((a, b) => loss(a) - loss(b));
    const rows = best.map((trial) => [
        h(
            "th",
            { scope: "row" },
            h("span.swatch", { style: { background: colour(trial.trial) } }),
            trial.trial,
            trial.leads && " (best)",
        ),
        ...axes.map((axis) => h("td.n", axis.says(axis.of(trial)))),
        h("td", trial.status.replaceAll("_", " ")),
    ]);
    const made = table(["trial", ...axes.map(({ title }) => title), "status"], rows);
    made.querySelectorAll("tbody tr").forEach((row, i) => {
        row.dataset.trial = best[i].trial;
        row.addEventListener("pointerenter", () => light(best[i].trial));
        row.addEventListener("pointerleave", () => light(null));
    });
    return made;
}
