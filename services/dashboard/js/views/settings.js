// How to learn: the few settings that matter, in plain words; then start.

import { post } from "../api.js";
import { h, show } from "../dom.js";
import { look } from "../jobs.js";
import { plural } from "../words.js";

const FIELDS = [
    {
        name: "n_epochs",
        label: "Epochs",
        value: "10",
        hint: "How often each picture is looked at. After the first time they cost nearly nothing.",
    },
    {
        name: "learning_rate",
        label: "Learning rate",
        value: "0.01",
        hint: "How large a step each correction takes. If the loss jumps or grows, lower it.",
        sweeps: true,
    },
    {
        name: "momentum",
        label: "Momentum",
        value: "0.9",
        hint: "How much of the last step goes into the next: 0 to below 1.",
        sweeps: true,
    },
    { name: "num_labels", label: "Number of labels", value: "auto", hint: "“auto”: as many as there are." },
    { name: "suffix", label: "Name", value: "", hint: "Of the model, if you like: letters, digits, - and _." },
];

export function settingsForm(file) {
    const inputs = Object.fromEntries(
        FIELDS.map((field) => [
            field.name,
            h("input", {
                id: `set-${field.name}`,
                value: field.value,
                autocomplete: "off",
                "aria-describedby": `set-${field.name}-hint`,
            }),
        ]),
    );
    const trials = h("p.quiet", { "aria-live": "polite" });
    const errors = h("div", { role: "alert" });
    const start = h("button.primary", { type: "submit" }, "Start training");
    const count = () => {
        const many = listed(inputs.learning_rate.value).length * listed(inputs.momentum.value).length;
        trials.textContent =
            many > 1
                ? `${plural(many, "trial")}, on the same features: they cost about one job, and the best becomes the model.`
                : "";
    };
    const form = h(
        "form.settings",
        {
            noValidate: true,
            onsubmit: async (event) => {
                event.preventDefault();
                start.disabled = true;
                try {
                    const job = await post("v1/fine_tuning/jobs", {
                        model: "resnet18",
                        training_file: file.id,
                        ...asked(inputs),
                    });
                    await look(job.id);
                    location.hash = `#/jobs/${job.id}`;
                } catch (error) {
                    refuse(error, inputs, errors);
                    start.disabled = false;
                }
            },
            oninput: count,
        },
        h("p", `Train on ${file.filename}.`),
        FIELDS.map((field) => row(field, inputs[field.name])),
        trials,
        h(
            "label.check",
            (inputs.balanced = h("input", { type: "checkbox" })),
            " Give each label the same say, however many pictures it has",
        ),
        h(
            "label.check",
            (inputs.early = h("input", { type: "checkbox" })),
            " Stop early once it no longer gets better, and keep the best",
        ),
        errors,
        h("p", start),
    );
    return form;
}

const row = ({ label, hint, sweeps }, input) =>
    h(
        "p.field",
        h("label", { htmlFor: input.id }, label),
        input,
        h("span.hint", { id: `${input.id}-hint` }, hint, sweeps && " Several, with commas between: each is tried."),
    );

const listed = (text) => text.split(/[,;\s]+/).filter(Boolean);

function asked(inputs) {
    const body = { sweep: {}, export: ["pt", "onnx", "zip"] };
    for (const name of ["learning_rate", "momentum"]) {
        const values = listed(inputs[name].value).map(numeric);
        if (values.length > 1) body.sweep[name] = values;
        else if (values.length) body[name] = values[0];
    }
    if (!Object.keys(body.sweep).length) delete body.sweep;
    for (const name of ["n_epochs", "num_labels"])
        if (inputs[name].value.trim()) body[name] = numeric(inputs[name].value.trim());
    if (inputs.suffix.value.trim()) body.suffix = inputs.suffix.value.trim();
    if (inputs.balanced.checked) body.class_weights = "balanced";
    if (inputs.early.checked) body.early_stopping = {};
    return body;
}

// What is no number is sent as it stands: the service names the field and says what it should be.
const numeric = (text) => (text !== "" && Number.isFinite(Number(text)) ? Number(text) : text);

function refuse(error, inputs, place) {
    show(place, h("p.error", error.message));
    for (const input of Object.values(inputs)) input.removeAttribute("aria-invalid");
    const name = error.param?.split(".").find((part) => part in inputs);
    if (!name) return;
    inputs[name].setAttribute("aria-invalid", "true");
    inputs[name].focus();
}
