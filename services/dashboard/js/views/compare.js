// Several jobs on one chart.

import { Chart, colour } from "../chart.js";
import { Curves } from "../curves.js";
import { h, table } from "../dom.js";
import { jobs, look, usedBy } from "../jobs.js";
import { number, nameOf, percent } from "../words.js";
import { pill } from "./status.js";

export async function compareView(ids) {
    const chosen = await Promise.all(
        ids
            .split(",")
            .filter(Boolean)
            .map((id) => jobs.get(id) ?? look(id)),
    );
    const charts = [];
    const curves = chosen.map((job) => new Curves(job.id, () => charts.forEach((chart) => chart.paint())));
    const lines = (name) => () =>
        chosen.map((job, i) => ({
            label: nameOf(job),
            colour: colour(i),
            ...(best(curves[i], job)[name] ?? { step: [], value: [] }),
        }));
    charts.push(new Chart("Training loss", lines("train_loss")), new Chart("Validation loss", lines("val_loss")));
    charts.push(
        new Chart("Validation accuracy", lines("val_accuracy"), { range: [0, 1], value: (v) => percent(v, 0) }),
    );
    await Promise.all(curves.map((curve) => curve.load()));
    const node = h(
        "section.card",
        h("div.title", h("h1", "Compared"), h("a.button", { href: "#/jobs" }, "All jobs")),
        facts(chosen),
        h(
            "div.charts",
            charts.map(({ node }) => node),
        ),
    );
    return { node, title: "Compared", close: () => [...curves, ...charts].forEach((one) => one.close()) };
}

const best = (curves, job) => curves.trials.get(job.best_trial ?? 0) ?? {};

const FACTS = ["learning_rate", "momentum", "n_epochs", "batch_size", "weight_decay"];

function facts(chosen) {
    const rows = chosen.map((job, i) => [
        h(
            "th",
            { scope: "row" },
            h("span.swatch", { style: { background: colour(i) } }),
            h("a", { href: `#/jobs/${job.id}` }, nameOf(job)),
        ),
        h("td", pill(job)),
        h("td.n", percent(job.evaluation?.accuracy)),
        h("td.n", number(job.evaluation?.loss)),
        ...FACTS.map((name) => h("td.n", number(usedBy(job)[name]))),
    ]);
    return table(["job", "status", "accuracy", "loss", ...FACTS.map((name) => name.replaceAll("_", " "))], rows);
}
