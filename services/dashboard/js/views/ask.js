// Ask a model: drop or paste a photo, or hold something in front of the camera; and the code that does the same.

import { get, postForm, save } from "../api.js";
import { h, show } from "../dom.js";
import { dropTarget, filesOfInput } from "../dropped.js";
import { percent } from "../words.js";
import { cameraOf } from "./camera.js";
import { codeFor } from "./code.js";

const BARS = 5;

export async function askForm(model) {
    const answer = h("div.answer", { "aria-live": "polite" }, h("p.quiet", "Here it says what it sees."));
    const preview = h("img.preview", { alt: "what was asked", hidden: true });

    let asked = 0;
    async function ask(blob, { quiet = false } = {}) {
        const mine = ++asked;
        answer.setAttribute("aria-live", quiet ? "off" : "polite"); // nobody wants the camera's read out
        if (!quiet) {
            preview.hidden = false;
            if (preview.src) URL.revokeObjectURL(preview.src);
            preview.src = URL.createObjectURL(blob);
            show(answer, h("p.quiet", "…"));
        }
        const form = new FormData();
        form.append("model", model);
        form.append("top_k", String(BARS));
        form.append("image", blob, blob.name ?? "photo.jpg");
        try {
            const [{ labels, error }] = (await postForm("v1/predictions", form)).data;
            if (mine !== asked) return; // another picture is asked by now
            show(answer, error ? h("p.error", error.message) : labels.map(barOf));
        } catch (error) {
            show(answer, h("p.error", { role: "alert" }, error.message));
        }
    }

    const take = (files) => files[0] && ask(files[0].blob);
    const input = h("input", {
        type: "file",
        accept: "image/*,.heic,.heif",
        onchange: () => take(filesOfInput(input.files)),
    });
    const pasted = (event) => {
        const blob = [...(event.clipboardData?.files ?? [])][0];
        if (blob) ask(blob);
    };
    const camera = cameraOf(
        (blob) => ask(blob, { quiet: true }),
        () => (preview.hidden = true),
    );
    const drop = dropTarget(
        h(
            "div.drop",
            h("p", h("b", "Drop or paste a photo")),
            h("p", h("label.button", "Choose a photo", input), " ", camera.button),
            preview,
            camera.node,
        ),
        take,
    );
    const node = h(
        "section.card",
        h("h2", "Ask it"),
        h("div.ask", drop, answer),
        h("details", h("summary", "The same from code"), codeFor(model)),
        await downloads(model),
    );
    addEventListener("paste", pasted);
    const close = () => {
        removeEventListener("paste", pasted);
        URL.revokeObjectURL(preview.src);
        camera.stop();
    };
    return { node, close };
}

function barOf({ label, probability }) {
    return h(
        "div.probability",
        h("span.name", label),
        h("meter", { min: 0, max: 1, value: probability, "aria-label": label }),
        h("span.n", percent(probability)),
    );
}

const NAMES = {
    zip: "all in one zip, runs with onnxruntime",
    onnx: "ONNX",
    pt: "PyTorch",
    safetensors: "the head alone",
};

async function downloads(model) {
    const { formats } = await get(`v1/models/${model}`);
    return h(
        "p.downloads",
        "Download: ",
        formats.map((format) =>
            h(
                "button",
                { onclick: () => save(`v1/models/${model}/content?format=${format}`, `model.${format}`) },
                NAMES[format] ?? format,
            ),
        ),
    );
}
