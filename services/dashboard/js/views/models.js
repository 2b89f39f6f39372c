// The models that jobs left.

import { get } from "../api.js";
import { h, table } from "../dom.js";
import { ago, percent } from "../words.js";

export async function modelsView() {
    const { data: models, has_more } = await get("v1/models?limit=200");
    const rows = models.map((model) => [
        h("td", h("a", { href: `#/models/${encodeURIComponent(model.id)}` }, model.id)),
        h("td.n", model.num_labels),
        h("td.n", percent(model.evaluation?.accuracy)),
        h("td", h("a", { href: `#/jobs/${model.job}` }, "its job")),
        h("td.quiet", ago(model.created)),
    ]);
    const none = h("p", "No model yet. ", h("a", { href: "#/new" }, "Train one"), ".");
    const body = rows.length ? table(["model", "labels", "accuracy", "", "when"], rows) : none;
    return {
        node: h("section.card", h("h1", "Models"), body, has_more && h("p.quiet", "Older ones are not shown here.")),
        title: "Models",
    };
}
