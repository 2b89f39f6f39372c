// The models that jobs left.

import { get } from "../api.js";
import { h } from "../dom.js";
import { ago, percent } from "../words.js";

export async function modelsView() {
    const { data: models, has_more } = await get("v1/models?limit=200");
    const row = (model) =>
        h(
            "tr",
            h("td", h("a", { href: `#/models/${encodeURIComponent(model.id)}` }, model.id)),
            h("td.n", model.num_labels),
            h("td.n", percent(model.evaluation?.accuracy)),
            h("td", h("a", { href: `#/jobs/${model.job}` }, "its job")),
            h("td.quiet", ago(model.created)),
        );
    const table = h(
        "table",
        h(
            "thead",
            h(
                "tr",
                ["model", "labels", "accuracy", "", "when"].map((title) => h("th", { scope: "col" }, title)),
            ),
        ),
        h("tbody", models.map(row)),
    );
    const body = models.length
        ? h("div.scroll", table)
        : h("p", "No model yet. ", h("a", { href: "#/new" }, "Train one"), ".");
    return {
        node: h("section.card", h("h1", "Models"), body, has_more && h("p.quiet", "Older ones are not shown here.")),
        title: "Models",
    };
}
