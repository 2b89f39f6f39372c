// One model, to be asked.

import { get, remove } from "../api.js";
import { h } from "../dom.js";
import { percent } from "../words.js";
import { askForm } from "./ask.js";

export async function modelView(id) {
    const model = await get(`v1/models/${id}`);
    const ask = await askForm(model.id);
    const gone = async () => {
        if (!confirm("Delete this model and its files? Its job stays.")) return;
        await remove(`v1/models/${id}`);
        location.hash = "#/models";
    };
    const head = h(
        "section.card",
        h(
            "div.title",
            h("h1", model.id),
            h("a.button", { href: `#/jobs/${model.job}` }, "Its job"),
            h("button.danger", { onclick: gone }, "Delete"),
        ),
        h("p", `Accuracy ${percent(model.evaluation?.accuracy)}; labels: ${(model.labels ?? []).join(", ")}.`),
    );
    return { node: h("div", head, ask.node), title: model.id, close: ask.close };
}
