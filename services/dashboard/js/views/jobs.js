// All jobs, the newest first; ticked ones can be compared.

import { eachFrame, h, show } from "../dom.js";
import { changes, loaded, newestFirst } from "../jobs.js";
import { ago, nameOf, percent } from "../words.js";
import { bar, pill } from "./status.js";

export async function jobsView() {
    await loaded();
    const rows = new Map(); // by id
    const ticked = new Set();
    const body = h("tbody");
    const compare = h("button", { onclick: () => (location.hash = `#/compare/${[...ticked].join(",")}`) }, "Compare");
    const empty = h("p", "No job yet. ", h("a", { href: "#/new" }, "Train a first classifier"), ".");
    const table = h(
        "table.jobs",
        h(
            "thead",
            h(
                "tr",
                ["", "job", "status", "progress", "accuracy", "when"].map((title) => h("th", { scope: "col" }, title)),
            ),
        ),
        body,
    );

    const paint = eachFrame(() => {
        const now = newestFirst();
        empty.hidden = now.length > 0;
        table.hidden = !now.length;
        compare.disabled = ticked.size < 2;
        now.forEach((job, i) => {
            let row = rows.get(job.id);
            if (!row) rows.set(job.id, (row = makeRow(job, ticked, paint)));
            row.update(job);
            if (body.children[i] !== row.node) body.insertBefore(row.node, body.children[i] ?? null);
        });
        while (body.children.length > now.length) body.lastChild.remove();
    });
    changes.addEventListener("changed", paint);
    paint();
    const node = h(
        "section.card",
        h("div.title", h("h1", "Jobs"), compare, h("a.button.primary", { href: "#/new" }, "New job")),
        empty,
        h("div.scroll", { tabindex: "0" }, table),
    );
    return { node, title: "Jobs", close: () => changes.removeEventListener("changed", paint) };
}

function makeRow(job, ticked, changed) {
    const tick = h("input", {
        type: "checkbox",
        "aria-label": `compare ${nameOf(job)}`,
        onchange: () => (tick.checked ? ticked.add(job.id) : ticked.delete(job.id), changed()),
    });
    const status = h("td");
    const progress = h("td.progress");
    const accuracy = h("td.n");
    const when = h("td.quiet", ago(job.created_at));
    const node = h(
        "tr",
        h("td", tick),
        h("td", h("a", { href: `#/jobs/${job.id}` }, nameOf(job)), h("span.id", job.id)),
        status,
        progress,
        accuracy,
        when,
    );
    let shown = "";
    const update = (now) => {
        const says = JSON.stringify([now.status, now.progress, now.metrics?.val_accuracy, now.evaluation?.accuracy]);
        if (says === shown) return;
        shown = says;
        show(status, pill(now));
        show(progress, bar(now));
        accuracy.textContent = percent(now.evaluation?.accuracy ?? now.metrics?.val_accuracy);
    };
    return { node, update };
}
