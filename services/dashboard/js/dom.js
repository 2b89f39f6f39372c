// Elements from code: h("div.card", {onclick}, "text", other). No markup is ever parsed, so no text can become any.

export function h(kind, ...parts) {
    const [tag, ...classes] = kind.split(".");
    const node = document.createElement(tag || "div");
    if (classes.length) node.className = classes.join(" ");
    fill(node, parts);
    return node;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
}

function fill(node, parts) {
    for (const part of parts.flat(Infinity)) {
        if (part === null || part === undefined || part === false) continue;
        if (part instanceof Node || typeof part !== "object") node.append(part);
        else set(node, part);
    }
}

function set(node, properties) {
    for (const [name, value] of Object.entries(properties)) {
        if (value === undefined || value === null) continue;
        if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
        else if (name === "style") for (const [rule, to] of Object.entries(value)) node.style.setProperty(rule, to);
        else if (name in node && !name.includes("-") && name !== "list") node[name] = value;
        else node.setAttribute(name, value);
    }
}

// Puts children in the place of those that are there.
export function show(node, ...children) {
    node.replaceChildren(
        ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
    );
    return node;
}

// Names and what they are: [[name, value], …].
export const facts = (pairs) =>
    h(
        "dl.facts",
        pairs.map(([name, value]) => h("div", h("dt", name), h("dd", String(value)))),
    );

// A table of rows of cells; each title stands as its column does.
export function table(titles, rows) {
    const aligned = (i) => (rows[0]?.[i]?.classList.contains("n") ? "th.n" : "th");
    const head = h(
        "thead",
        h(
            "tr",
            titles.map((title, i) => h(aligned(i), { scope: "col" }, title)),
        ),
    );
    return h(
        "div.scroll",
        { tabindex: "0" },
        h(
            "table",
            head,
            h(
                "tbody",
                rows.map((cells) => h("tr", cells)),
            ),
        ),
    );
}

export function toast(text, kind = "info") {
    const place = document.getElementById("toasts");
    const note = h("div.toast", { className: `toast ${kind}` }, text);
    place.append(note);
    setTimeout(() => note.remove(), 6000);
}

// At most once a frame, whatever comes: `paint` with the newest there is.
export function eachFrame(paint) {
    let asked = false;
    return () => {
        if (asked) return;
        asked = true;
        requestAnimationFrame(() => {
            asked = false;
            paint();
        });
    };
}
