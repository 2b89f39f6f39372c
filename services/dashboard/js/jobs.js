// The jobs as they are now: what the service lists, and what its events change.

import { get } from "./api.js";
import { feed } from "./feed.js";

const MOST = 200; // jobs that are kept up to date
const SOON = 120; // ms in which what happens to a job is looked at together
const PROGRESS = [
    "phase",
    "percent",
    "epoch",
    "n_epochs",
    "step",
    "total_steps",
    "images",
    "total_images",
    "images_per_second",
    "eta_seconds",
];

export const jobs = new Map(); // by id
export const changes = new EventTarget(); // "changed", with the job's id, or none where all may have
let ready = null;

export function loaded() {
    ready ??= load().catch((error) => {
        ready = null;
        throw error;
    });
    return ready;
}

export const newestFirst = () => [...jobs.values()].sort((a, b) => (a.id < b.id ? 1 : -1));

// The hyperparameters of what became, or would become, the model.
export const usedBy = (job) => job.trials[job.best_trial ?? -1]?.hyperparameters ?? job.resolved_hyperparameters;

let asked = 0; // how often the service was asked
const answered = new Map(); // by a job's id: the youngest question that it is known from

function learn(job, question) {
    if (question < (answered.get(job.id) ?? 0)) return; // an answer that was overtaken
    answered.set(job.id, question);
    jobs.set(job.id, job);
}

async function load() {
    const question = ++asked;
    const known = new Set();
    let after = "";
    for (let more = true; more && known.size < MOST;) {
        const page = await get(`v1/fine_tuning/jobs?limit=100${after}`);
        for (const job of page.data) {
            learn(job, question);
            known.add(job.id);
        }
        more = page.has_more;
        after = `&after=${page.last_id}`;
    }
    const gone = (id) => !known.has(id) && known.size < MOST && answered.get(id) <= question;
    for (const id of jobs.keys()) if (gone(id)) jobs.delete(id);
    changed();
}

export async function look(id) {
    const question = ++asked;
    learn(await get(`v1/fine_tuning/jobs/${id}`), question);
    changed(id);
    return jobs.get(id);
}

export function forget(id) {
    jobs.delete(id);
    changed();
}

const soon = new Set();

function lookSoon(id) {
    if (soon.has(id)) return;
    soon.add(id);
    setTimeout(() => {
        soon.delete(id);
        look(id).catch(() => {});
    }, SOON);
}

function changed(id) {
    changes.dispatchEvent(new CustomEvent("changed", { detail: id }));
}

feed.addEventListener("resync", () => {
    load().catch(() => {}); // of a service that is away again: the next connection asks again
});

feed.addEventListener("happened", ({ detail: event }) => {
    const id = event.fine_tuning_job_id;
    const job = jobs.get(id);
    if (!job || event.type !== "metrics") lookSoon(id);
    if (!job) return;
    for (const name of PROGRESS) if (name in event.data) job.progress[name] = event.data[name];
    for (const name of ["train_loss", "val_loss", "val_accuracy"]) {
        if (name in event.data) job.metrics = { ...job.metrics, [name]: event.data[name] };
    }
    changed(id);
});
