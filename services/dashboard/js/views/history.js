// What happened to a job: its events, its attempts and why each ended, its checkpoints.

import { get, save } from "../api.js";
import { h, show, table } from "../dom.js";
import { feed } from "../feed.js";
import { bytes, clock, number, percent } from "../words.js";

const SHOWN = 100;

export function historyOf(id) {
    const events = h("ol.events", { tabindex: "0", "aria-label": "Events, the newest first" });
    const attempts = h("div");
    const checkpoints = h("div");
    const base = `v1/fine_tuning/jobs/${id}`;
    const add = (event) => {
        if (event.type === "message") events.prepend(line(event));
        while (events.children.length > SHOWN) events.lastChild.remove();
    };
    const heard = ({ detail }) =>
        detail.fine_tuning_job_id === id && !known.has(detail.id) && (known.add(detail.id), add(detail));
    const known = new Set();

    async function load() {
        const [listed, job, stored] = await Promise.all([
            get(`${base}/events?type=message&limit=${SHOWN}`),
            get(base),
            get(`${base}/checkpoints?limit=20`),
        ]);
        show(events);
        known.clear();
        for (const event of listed.data.reverse()) {
            known.add(event.id);
            add(event);
        }
        show(attempts, attemptTable(job.attempts));
        show(checkpoints, checkpointTable(base, stored.data));
    }
    feed.addEventListener("happened", heard);
    const part = (title, body, open) => h("details", { open }, h("summary", title), body);
    const node = h(
        "section.card",
        h("h2", "What happened"),
        part("Events", events, true),
        part("Attempts", attempts),
        part("Checkpoints", checkpoints),
    );
    return { node, load, close: () => feed.removeEventListener("happened", heard) };
}

const line = ({ created_at, level, message }) =>
    h("li", { className: level }, h("time", clock(created_at)), " ", message);

function attemptTable(attempts) {
    const ended = (attempt) => (attempt.ended_at ? clock(attempt.ended_at) : "running");
    return table(
        ["attempt", "worker", "device", "from", "to", "why it ended", "last step"],
        attempts.map((attempt) => [
            h("td.n", attempt.number),
            h("td", attempt.worker),
            h("td", attempt.device),
            h("td", clock(attempt.started_at)),
            h("td", ended(attempt)),
            h("td", attempt.reason ?? ""),
            h("td.n", number(attempt.last_step)),
        ]),
    );
}

function checkpointTable(base, checkpoints) {
    const row = ({ id, step_number, metrics, best, bytes: size }) => [
        h("td.n", `${step_number}${best ? " (best)" : ""}`),
        h("td.n", number(metrics.train_loss)),
        h("td.n", number(metrics.valid_loss)),
        h("td.n", percent(metrics.valid_accuracy)),
        h(
            "td",
            h(
                "button.quiet",
                { onclick: () => save(`${base}/checkpoints/${id}/content`, `${id}.safetensors`) },
                `download, ${bytes(size)}`,
            ),
        ),
    ];
    return checkpoints.length
        ? table(["step", "training loss", "validation loss", "accuracy", ""], checkpoints.map(row))
        : h("p.quiet", "None yet.");
}
