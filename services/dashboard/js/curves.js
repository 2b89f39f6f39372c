// A job's series: all that was, then what events add, each step once.

import { get } from "./api.js";
import { feed } from "./feed.js";

const POINTS = 60_000; // of all series together, at first
const NAMES = ["train_loss", "val_loss", "val_accuracy"];

export class Curves {
    // `changed` is called whenever something is new.
    constructor(job, changed) {
        this.job = job;
        this.trials = new Map(); // by number: {train_loss: {step, value}, …}
        this.changed = changed;
        this.waiting = []; // events that came while the whole was on its way
        this.heard = ({ detail }) => this.hear(detail);
        this.again = () => this.load().catch(() => {}); // the next connection asks again
        feed.addEventListener("happened", this.heard);
        feed.addEventListener("resync", this.again);
    }

    close() {
        feed.removeEventListener("happened", this.heard);
        feed.removeEventListener("resync", this.again);
    }

    async load() {
        const waiting = (this.waiting = []);
        const found = await get(`v1/fine_tuning/jobs/${this.job}/metrics?points=${POINTS}`);
        if (this.waiting !== waiting) return; // asked again meanwhile
        this.trials = new Map(
            found.trials?.length ? found.trials.map((trial) => [trial.trial, trial.series]) : [[0, found.series]],
        );
        this.waiting = null;
        waiting.forEach((event) => this.add(event));
        this.changed();
    }

    hear(event) {
        if (event.fine_tuning_job_id !== this.job || event.type !== "metrics") return;
        if (this.waiting) this.waiting.push(event);
        else if (this.add(event)) this.changed();
    }

    add({ data }) {
        const values = data.trials ?? (data.series || data.validations ? [{ trial: 0, ...data }] : []);
        for (const { trial, series, validations } of values) {
            const mine = this.trials.get(trial) ?? {};
            this.trials.set(trial, mine);
            if (series) append(mine, "train_loss", series.step, series.train_loss);
            if (validations)
                for (const name of ["val_loss", "val_accuracy"])
                    append(mine, name, validations.step, validations[name]);
        }
        return values.length > 0;
    }

    get empty() {
        return ![...this.trials.values()].some((series) => NAMES.some((name) => series[name]?.step.length));
    }
}

function append(series, name, steps, values) {
    const mine = (series[name] ??= { step: [], value: [] });
    const from = mine.step.at(-1) ?? -1;
    steps.forEach((step, i) => {
        if (step > from) {
            mine.step.push(step);
            mine.value.push(values[i]);
        }
    });
}
