// Who computes, what waits and why, and what the autoscaler decides.

import { get, post } from "../api.js";
import { h, show, toast } from "../dom.js";
import { jobs, loaded, newestFirst } from "../jobs.js";
import { clock, nameOf, plural } from "../words.js";

const EVERY = 2000; // ms
const TIMES = new Set(["seen_at", "looked_at", "silent_seconds", "at"]); // that change with each look

export async function workersView() {
    const workers = h("div");
    const queue = h("div");
    const scaling = h("div");
    const problem = h("p.error", { role: "alert", hidden: true });
    let shown = "";
    const paint = async () => {
        const told = await Promise.all([get("v1/workers"), get("v1/queue"), get("v1/autoscaler")]);
        problem.hidden = true;
        const says = JSON.stringify(told, (name, value) => (TIMES.has(name) ? undefined : value));
        if (says === shown) return; // a click or a focus would be lost
        shown = says;
        const [fleet, waiting, scaler] = told;
        const none = h("p", "No worker is running. ", h("code", "headway up"), " starts one.");
        show(workers, fleet.data.length ? fleet.data.map(workerCard) : none);
        show(queue, queueOf(waiting));
        show(scaling, autoscalerOf(scaler));
    };
    await loaded();
    await paint();
    let next = 0;
    const again = () => {
        next = setTimeout(async () => {
            await paint().catch((error) => {
                problem.hidden = false;
                problem.textContent = error.message;
            });
            if (next) again();
        }, EVERY);
    };
    again();
    const node = h(
        "div",
        problem,
        h("section.card", h("h1", "Workers"), workers),
        h("section.card", h("h2", "Queue"), queue),
        h("section.card", h("h2", "Autoscaler"), scaling),
    );
    return { node, title: "Workers", close: () => (next = clearTimeout(next)) };
}

function workerCard(worker) {
    const report = worker.preflight.at(-1);
    const drain = async () => {
        await post(`v1/workers/${worker.id}/drain`);
        toast(`${worker.id} takes no more jobs; it stops after a checkpoint.`);
    };
    const job = worker.job && (jobs.get(worker.job) ?? { id: worker.job });
    return h(
        "article.worker",
        h(
            "div.title",
            h("h3", worker.device),
            h("span", { className: `pill ${worker.status}` }, worker.status),
            h("span.id", worker.id),
            worker.status !== "draining" && h("button", { onclick: drain }, "Drain"),
        ),
        h("p.quiet", [report?.model, `Headway ${worker.version}`, worker.host].filter(Boolean).join(" · ")),
        worker.helps &&
            h(
                "p",
                "Helps with the images of another worker's ",
                h("a", { href: `#/jobs/${worker.helps}` }, "job"),
                ".",
            ),
        job && h("p", "Works on ", h("a", { href: `#/jobs/${job.id}` }, nameOf(job)), "."),
        report &&
            h(
                "details",
                h("summary", `Preflight ${report.ok ? "passed" : "failed"}; “auto” is ${report.auto ?? "fp32"}`),
                h(
                    "ul",
                    report.checks.map((check) => h("li", `${check.ok ? "✓" : "✗"} ${check.check}: ${check.detail}`)),
                    Object.entries(report.precisions).map(([precision, { engine, agreement }]) =>
                        h("li", `${precision} by ${engine}, agreement ${agreement.toFixed(6)}`),
                    ),
                ),
            ),
    );
}

function queueOf({ queued, running }) {
    const waiting = newestFirst()
        .filter((job) => job.status === "queued")
        .reverse();
    const counts = Object.entries(queued)
        .filter(([, count]) => count)
        .map(([kind, count]) => `${count} for ${kind === "any" ? "any device" : kind}`);
    return [
        h("p", `${plural(running, "job")} running; ${counts.length ? `waiting: ${counts.join(", ")}` : "none waits"}.`),
        waiting.length > 0 &&
            h(
                "ol",
                waiting.map((job) =>
                    h("li", h("a", { href: `#/jobs/${job.id}` }, nameOf(job)), `: ${job.status_reason.message}`),
                ),
            ),
    ];
}

function autoscalerOf({ alive, provider, pools, now, decisions, problem }) {
    if (!alive)
        return h(
            "p",
            "None runs: workers stay as many as they are. ",
            h("code", "headway up --autoscale"),
            " or compose starts one.",
        );
    const line = (decision) => h("li", h("time", clock(decision.at)), ` ${decision.reason}`);
    return [
        problem && h("p.error", problem),
        h(
            "p",
            `Starts workers by ${provider}; ${pools.map((pool) => `${pool.kind}: ${pool.min} to ${pool.max}`).join(", ")}.`,
        ),
        h("p", now.map((decision) => decision.reason).join(" ")),
        decisions.length > 0 &&
            h("details", { open: true }, h("summary", "What it decided"), h("ol.events", decisions.map(line))),
    ];
}
