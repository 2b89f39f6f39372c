// How good the model is on images that it was not trained on, and what it gets wrong.

import { get } from "../api.js";
import { facts, h, show, table } from "../dom.js";
import { judgedFigure } from "../pictures.js";
import { number, percent, plural } from "../words.js";

const SHOWN = 24; // pictures at a time
const LARGE = 25; // labels, from which on the matrix is drawn small

export async function evaluationOf(job) {
    const evaluation = await get(`v1/fine_tuning/jobs/${job.id}/evaluation`).catch((error) => {
        if (error.status === 404) return null;
        throw error;
    });
    if (!evaluation)
        return h("section.card", h("h2", "How good it is"), h("p", "Nothing was held out to judge it by."));
    const gallery = await galleryOf(job);
    return h(
        "section.card",
        h("h2", "How good it is"),
        inShort(evaluation),
        evaluation.confusion.length > 0 &&
            h(
                "div",
                h("h3", "What is taken for what"),
                h("p.quiet", "Choose a cell to see its pictures."),
                matrix(evaluation, gallery),
            ),
        gallery.node,
        h("h3", "Label by label"),
        scores(evaluation),
    );
}

// Against chance and against always saying the largest label: an accuracy alone says little.
function inShort({ accuracy, loss, images, split, labels, ece, calibrated_ece }) {
    const used = labels.filter((score) => score.images > 0);
    const largest = used.reduce((most, score) => (score.images > most.images ? score : most), used[0] ?? { images: 0 });
    return facts([
        ["accuracy", percent(accuracy)],
        ["by chance", percent(used.length ? 1 / used.length : null)],
        [`always “${largest.label ?? "–"}”`, percent(images ? largest.images / images : null)],
        ["loss", number(loss)],
        ["held out", `${plural(images, "image")} (${split})`],
        ["calibration error", calibrated_ece === null ? "–" : `${percent(calibrated_ece)} (before: ${percent(ece)})`],
    ]);
}

function matrix({ labels, confusion }, gallery) {
    const names = labels.map(({ label }) => label);
    const most = Math.max(1, ...confusion.flat());
    const cell = (row, column) => {
        const count = confusion[row][column];
        if (!count) return h("td");
        const shade = { "--share": Math.sqrt(count / most) };
        const says = `${names[row]} taken for ${names[column]}: ${count}`;
        const act = () => gallery.pair(names[row], names[column]);
        return h(
            "td",
            { className: row === column ? "right" : "wrong", style: shade },
            h("button", { title: says, "aria-label": says, onclick: act }, count),
        );
    };
    return h(
        "div.scroll",
        { tabindex: "0" },
        h(
            "table",
            { className: `confusion ${names.length > LARGE ? "small" : ""}` },
            h(
                "thead",
                h(
                    "tr",
                    h("th", { scope: "col" }, "is ↓ taken for →"),
                    names.map((name) => h("th", { scope: "col" }, h("span", name))),
                ),
            ),
            h(
                "tbody",
                names.map((name, row) =>
                    h(
                        "tr",
                        h("th", { scope: "row" }, name),
                        names.map((_, column) => cell(row, column)),
                    ),
                ),
            ),
        ),
    );
}

// Pictures that were judged, the worst first: mistakes to begin with, then whatever pair is chosen.
async function galleryOf(job) {
    const place = h("div.gallery");
    const title = h("h3", { tabindex: "-1" });
    const more = h("button", {}, "More");
    const all = h("button.quiet", { hidden: true }, "All mistakes");
    const node = h("div", h("div.title", title, all), place, h("p", more));
    let query = "";
    let last = null;

    let turn = 0; // goes up with each choice: an answer to an older one is not shown

    const load = async () => {
        const mine = turn;
        more.disabled = true;
        let shown = 0;
        for (let goes_on = true; goes_on && !shown; goes_on = !more.hidden) {
            const from = last ? `&after=${last}` : "";
            const page = await get(`v1/fine_tuning/jobs/${job.id}/evaluation/images?limit=${SHOWN}${query}${from}`);
            if (mine !== turn) return 0;
            last = page.last_id;
            more.hidden = !page.has_more;
            shown = page.data.length;
            place.append(...page.data.map(judgedFigure));
        }
        more.disabled = false;
        return shown;
    };
    const begin = async (says, asked) => {
        const mine = ++turn;
        query = asked;
        last = null;
        title.textContent = says;
        show(place);
        if ((await load()) || mine !== turn) return;
        show(
            place,
            h("p.quiet", asked === "&wrong=true" ? "None: each held-out image is taken for what it is." : "None."),
        );
    };
    const mistakes = () => {
        all.hidden = true;
        return begin("Mistakes, the worst first", "&wrong=true");
    };
    more.onclick = load;
    all.onclick = mistakes;
    await mistakes().catch(() => (node.hidden = true)); // of a model from before there was such a list
    const pair = async (label, predicted) => {
        all.hidden = false;
        await begin(
            label === predicted ? `${label}, recognised` : `${label}, taken for ${predicted}`,
            `&label=${encodeURIComponent(label)}&predicted=${encodeURIComponent(predicted)}`,
        );
        title.focus();
    };
    return { node, pair };
}

function scores({ labels }) {
    const worst = [...labels].filter((score) => score.images > 0).sort((a, b) => a.f1 - b.f1);
    const rows = worst.map((score) => [
        h("th", { scope: "row" }, score.label),
        h("td.n", score.images),
        ...["precision", "recall", "f1"].map((name) => h("td.n", percent(score[name]))),
    ]);
    return table(["label", "images", "precision", "recall", "F1"], rows);
}
