// What the service understood of an upload, before any training.

import { get } from "../api.js";
import { h, table } from "../dom.js";
import { thumbnail } from "../pictures.js";
import { bytes, plural } from "../words.js";

const LABELS = 12; // shown at once
const EACH = 4; // pictures of a label

export async function reportOf(file) {
    const report = await get(`v1/files/${file.id}/report`).catch(() => null);
    const labels = report?.contents.labels ?? file.contents.labels;
    const splits = Object.keys(labels);
    const shown = labels.train ?? labels[splits[0]] ?? {};
    const names = Object.keys(shown);
    const rows = await Promise.all(names.slice(0, LABELS).map((label) => rowOf(file, label, labels)));
    const rest = names.length - rows.length;
    return h(
        "div.report",
        h("h3", `${file.filename}: ${plural(file.contents.images, "image")}, ${plural(names.length, "label")}`),
        (report?.findings ?? []).map(finding),
        table(["label", ...splits, "some of them"], rows),
        rest > 0 && h("p.quiet", `… and ${plural(rest, "more label")}.`),
        report && facts(report),
    );
}

async function rowOf(file, label, labels) {
    const data = await someOf(file, label);
    return [
        h("th", { scope: "row" }, label),
        ...Object.values(labels).map((counts) => h("td.n", counts[label] ?? 0)),
        h(
            "td.thumbs",
            data.map((image) => thumbnail(file.id, image.id, `${label}: ${image.id}`, 56)),
        ),
    ];
}

// A page may be empty and the list go on: the service looks through some thousand images at a time.
async function someOf(file, label) {
    for (let after = ""; ;) {
        const query = `limit=${EACH}&label=${encodeURIComponent(label)}${after}`;
        const page = await get(`v1/files/${file.id}/images?${query}`);
        if (page.data.length || !page.has_more) return page.data;
        after = `&after=${encodeURIComponent(page.last_id)}`;
    }
}

const finding = ({ severity, message, remedy }) =>
    h(
        "p",
        { className: `finding ${severity}`, role: severity === "error" ? "alert" : null },
        h("b", { error: "Error: ", warning: "Look: ", info: "Note: " }[severity]),
        message,
        remedy && h("span.remedy", ` ${remedy[0].toUpperCase()}${remedy.slice(1)}.`),
    );

function facts({ formats, sizes, left_out }) {
    const said = [
        Object.entries(formats)
            .map(([name, count]) => `${count} ${name}`)
            .join(", "),
    ];
    if (sizes) said.push(`${bytes(sizes.least)} to ${bytes(sizes.most)} each`);
    return h(
        "div",
        h("p.quiet", said.join("; ")),
        left_out.length > 0 &&
            h(
                "details",
                h("summary", "What was left out"),
                h(
                    "ul",
                    left_out.map(({ reason, kind, count, files }) =>
                        h(
                            "li",
                            `${count} ${kind || "files"}: ${reason} (${files.slice(0, 3).join(", ")}${count > 3 ? ", …" : ""})`,
                        ),
                    ),
                ),
            ),
    );
}
