// What to learn from: an archive, folders, or photos in a box for each label; shrunk if wanted, then sent.

import { h, show, toast } from "../dom.js";
import { tar } from "../archive.js";
import { dropTarget, filesOfInput, isArchive, underLabel } from "../dropped.js";
import { shrunk } from "../shrink.js";
import { upload } from "../upload.js";
import { bytes, duration, plural } from "../words.js";

const LARGE = 20e6; // bytes, from which on it is worth asking whether photographs may be shrunk

export function dataForm(done) {
    const boxes = [];
    const list = h("div.boxes");
    const footer = h("div");
    const sending = h("div", { "aria-live": "polite" });
    let abort = null;

    const addBox = (files = []) => {
        const box = labelBox(files, paint, () => {
            boxes.splice(boxes.indexOf(box), 1);
            box.node.remove();
            paint();
        });
        boxes.push(box);
        list.append(box.node);
        paint();
        return box;
    };

    function take(files) {
        if (!files.length) return toast("There were no files in it.", "error");
        if (isArchive(files)) return send(files[0].blob, files[0].blob.name);
        if (files.some(({ path }) => path.includes("/"))) return folders(files);
        addBox(files).name.focus();
    }

    // Folders are sent as they lie, for the service to read: splits, tables and all.
    function folders(files) {
        show(
            footer,
            readyToSend(files, (chosen) => send(tar(chosen), `${files[0].path.split("/")[0] || "images"}.tar`)),
        );
    }

    function paint() {
        const filled = boxes.filter((box) => box.files.length);
        const named = new Set(filled.map((box) => box.name.value.trim()).filter(Boolean));
        if (!filled.length) return show(footer);
        if (filled.length < 2 || named.size < filled.length)
            return show(footer, h("p.quiet", "Two labels are needed, each with a name of its own and some photos."));
        const files = filled.flatMap((box) => underLabel(box.name.value.trim(), box.files));
        show(
            footer,
            readyToSend(files, (chosen) => send(tar(chosen), "photos.tar")),
        );
    }

    async function send(blob, name) {
        abort = new AbortController();
        const bar = h("progress", { max: blob.size, value: 0, "aria-label": `sending ${name}` });
        const says = h("span", `0 of ${bytes(blob.size)}`);
        const began = performance.now();
        show(footer);
        show(sending, h("p", `Sending ${name} `, says), bar, h("button", { onclick: () => abort.abort() }, "Stop"));
        try {
            const file = await upload(
                blob,
                name,
                (sent) => {
                    const rate = sent / ((performance.now() - began) / 1000);
                    bar.value = sent;
                    says.textContent =
                        sent < blob.size
                            ? `${bytes(sent)} of ${bytes(blob.size)}, ${bytes(rate)}/s, ${duration((blob.size - sent) / rate)} left`
                            : "sent; the service reads it …";
                },
                abort.signal,
            );
            show(
                sending,
                h("p.done", `${file.filename}: ${plural(file.contents.images, "image")} of ${bytes(file.bytes)}.`),
            );
            await done(file);
        } catch (error) {
            show(
                sending,
                error.name === "AbortError" ? h("p", "Stopped.") : h("p.error", { role: "alert" }, error.message),
            );
            paint();
        }
    }

    const archives = h("input", {
        type: "file",
        accept: ".zip,.tar,.tgz,.gz,.jsonl",
        onchange: () => take(filesOfInput(archives.files)),
    });
    const folder = h("input", { type: "file", multiple: true, onchange: () => take(filesOfInput(folder.files)) });
    folder.webkitdirectory = true;
    const drop = dropTarget(
        h(
            "div.drop",
            h("p", h("b", "Drop a zip, folders, or photos here")),
            h("p.quiet", "A folder for each label is all it takes."),
            h("p", h("label.button", "Choose an archive", archives), " ", h("label.button", "Choose a folder", folder)),
        ),
        take,
    );
    addBox();
    addBox();
    const node = h(
        "div",
        drop,
        h("h3", "Or label by label"),
        list,
        h("p", h("button", { onclick: () => addBox().name.focus() }, "Add a label")),
        footer,
        sending,
    );
    return { node, close: () => abort?.abort() };
}

function labelBox(files, changed, remove) {
    const box = {
        files: [...files],
        name: h("input.label", {
            placeholder: "label",
            "aria-label": "name of the label",
            oninput: changed,
        }),
    };
    const count = h("span.count");
    const tell = () => (count.textContent = plural(box.files.length, "photo"));
    const add = (more) => {
        box.files.push(...more);
        tell();
        changed();
    };
    tell();
    const input = h("input", {
        type: "file",
        accept: "image/*,.heic,.heif",
        multiple: true,
        onchange: () => add(filesOfInput(input.files)),
    });
    box.node = dropTarget(
        h(
            "div.box",
            box.name,
            count,
            h("label.button", "Add photos", input),
            h("button.quiet", { onclick: remove, "aria-label": "remove this label" }, "×"),
        ),
        add,
    );
    return box;
}

// What will be sent, smaller if that is wanted.
function readyToSend(files, send) {
    const weight = files.reduce((sum, { blob }) => sum + blob.size, 0);
    const says = h("span");
    const wanted = h("input", { type: "checkbox", checked: weight > LARGE });
    const start = h("button.primary", {}, "Upload");
    start.onclick = async () => {
        start.disabled = true;
        const chosen = wanted.checked
            ? await shrunk(files, (n, of) => (says.textContent = ` ${n} of ${of} shrunk`))
            : files;
        send(chosen);
    };
    return h(
        "div.ready",
        h("p", `${plural(files.length, "file")}, ${bytes(weight)}.`),
        h(
            "label.check",
            wanted,
            " Shrink large photos first: 3 GB from a phone become some 100 MB, and the model sees 224 × 224 pixels of each anyway.",
        ),
        h("p", start, says),
    );
}
