// From pictures to a job: what to learn from, how, start.

import { get } from "../api.js";
import { h, show } from "../dom.js";
import { ago } from "../words.js";
import { dataForm } from "./data.js";
import { reportOf } from "./report.js";
import { settingsForm } from "./settings.js";

export async function newView() {
    const data = h("div");
    const settings = h("div");
    const report = h("div");
    let chosen = 0;
    const use = async (file) => {
        const mine = ++chosen;
        show(report, h("p.quiet", "Looking at what it holds …"));
        const made = await reportOf(file);
        if (mine !== chosen) return; // another file is chosen by now
        show(report, made);
        show(settings, settingsForm(file));
        report.scrollIntoView({ behavior: "smooth", block: "start" });
    };
    const form = dataForm(use);
    show(data, form.node, await earlier(use));
    const node = h(
        "div.columns",
        h(
            "section.card",
            { "aria-labelledby": "step-data" },
            h("h1", { id: "step-data" }, h("span.step", "1"), "Pictures"),
            data,
            report,
        ),
        h(
            "section.card",
            { "aria-labelledby": "step-train" },
            h("h2", { id: "step-train" }, h("span.step", "2"), "Training"),
            settings,
        ),
    );
    show(
        settings,
        h("p.quiet", "Once there are pictures, this is where you say how to learn from them. The defaults are good."),
    );
    return { node, title: "Train", close: form.close };
}

async function earlier(use) {
    const { data: files } = await get("v1/files?limit=50");
    if (!files.length) return null;
    const choice = h(
        "select",
        { id: "earlier", onchange: async () => choice.value && use(await get(`v1/files/${choice.value}`)) },
        h("option", { value: "" }, "choose …"),
        files.map((file) =>
            h(
                "option",
                { value: file.id },
                `${file.filename} · ${file.contents.images} images · ${ago(file.created_at)}`,
            ),
        ),
    );
    return h("p.earlier", h("label", { htmlFor: "earlier" }, "Or what was uploaded before: "), choice);
}
