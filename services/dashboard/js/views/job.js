// One job: how far it is, its curves, how good it became and at what it fails, and how it came to that.

import { Problem, post, remove } from "../api.js";
import { facts, h, show, toast } from "../dom.js";
import { changes, forget, jobs, look, usedBy } from "../jobs.js";
import { nameOf, number, percent } from "../words.js";
import { askForm } from "./ask.js";
import { curvesOf } from "./curves.js";
import { evaluationOf } from "./evaluation.js";
import { historyOf } from "./history.js";
import { bar, pace, pill } from "./status.js";
import { trialsOf } from "./trials.js";

export async function jobView(id) {
    let job = await look(id);
    const head = h("div"); // with its buttons: made anew only with another status, or a click would miss them
    const running = h("div");
    const state = h("div");
    const end = h("div");
    const curves = await curvesOf(job, () => job);
    const trials = trialsOf(() => job);
    const history = historyOf(id);
    let shown = null; // the status for which the end was made
    let ask = null;
    let closed = false;
    let best = job.best_trial; // whose curve stands out

    async function paint() {
        job = jobs.get(id) ?? job;
        show(running, h("p.quiet", pace(job)), bar(job));
        show(state, summary(job));
        trials.paint();
        if (job.best_trial !== best) curves.paint();
        best = job.best_trial;
        if (job.status === shown) return;
        shown = job.status;
        show(head, title(job));
        await history.load();
        if (job.status !== "succeeded") return;
        ask?.close?.();
        ask = await askForm(job.fine_tuned_model).catch(gone);
        if (closed) return ask.close?.();
        show(end, ask.node, await evaluationOf(job));
    }

    const changed = ({ detail }) => {
        if (!detail || detail === id) paint().catch(() => (shown = null)); // of a service that is away: again, once it is back
    };
    changes.addEventListener("changed", changed);
    await paint();
    const node = h("div", h("section.card", head, running, state), curves.node, trials.node, end, history.node);
    const close = () => {
        closed = true;
        changes.removeEventListener("changed", changed);
        [curves, history, ask].forEach((part) => part?.close?.());
    };
    return { node, title: nameOf(job), close };
}

function gone(error) {
    if (error instanceof Problem && error.status === 404) return { node: h("p.card", "Its model was deleted.") };
    throw error;
}

function title(job) {
    return h(
        "div.title",
        h("h1", nameOf(job)),
        pill(job),
        h("span.id", job.id),
        h(
            "span.actions",
            job.allowed_actions.map((action) => button(job, action)),
        ),
    );
}

const KINDS = { resume: "primary", cancel: "danger", delete: "danger" };

function button(job, action) {
    const act = async (event) => {
        if (action === "delete" && !confirm("Delete this job, its model, checkpoints and events? Its pictures stay."))
            return;
        event.target.disabled = true;
        try {
            if (action !== "delete")
                return await post(`v1/fine_tuning/jobs/${job.id}/${action}`).then(() => look(job.id));
            await remove(`v1/fine_tuning/jobs/${job.id}`);
            forget(job.id);
            location.hash = "#/jobs";
        } catch (error) {
            toast(error.message, "error");
            event.target.disabled = false;
            look(job.id).catch(() => {});
        }
    };
    return h("button", { className: KINDS[action] ?? "", onclick: act }, action[0].toUpperCase() + action.slice(1));
}

function summary(job) {
    const used = usedBy(job);
    const metrics = job.metrics ?? {};
    const told = [
        ["training loss", number(metrics.train_loss)],
        ["validation loss", number(metrics.val_loss)],
        ["validation accuracy", percent(metrics.val_accuracy)],
        ["learning rate", number(used.learning_rate)],
        ["momentum", number(used.momentum)],
        ["epochs", `${job.progress.epoch} of ${used.n_epochs}`],
        ["labels", job.num_labels],
        ["precision", job.precision],
    ];
    const why = job.status_reason;
    return h(
        "div",
        h("p", { className: `why ${job.status}` }, why.message),
        job.warnings.map((warning) => h("p.finding.warning", h("b", "Look: "), warning.message)),
        String(job.weights).startsWith("random") &&
            h("p.quiet", `The backbone has random weights (${job.weights}): for trials and tests.`),
        facts(told),
    );
}
