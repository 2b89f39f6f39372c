// What was dropped or chosen: files with their paths, folders gone through.

const ARCHIVE = /\.(zip|tar|tar\.gz|tgz|jsonl)$/i;
const JUNK = /(^|\/)(\.[^/]*|Thumbs\.db|desktop\.ini|__MACOSX)(\/|$)/i;

export const isArchive = (files) => files.length === 1 && ARCHIVE.test(files[0].path);

// [{path, blob}] of a drop; `path` begins with the folder that was dropped.
export async function filesOfDrop(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const found = [];
    if (!entries.length) return filesOfInput(transfer.files);
    for (const entry of entries) await walk(entry, found);
    return found.filter(({ path }) => !JUNK.test(path));
}

export const filesOfInput = (files) =>
    [...files]
        .map((blob) => ({ path: blob.webkitRelativePath || blob.name, blob }))
        .filter(({ path }) => !JUNK.test(path));

async function walk(entry, found) {
    if (entry.isFile) {
        const blob = await new Promise((done, fail) => entry.file(done, fail));
        found.push({ path: entry.fullPath.replace(/^\//, ""), blob });
        return;
    }
    const reader = entry.createReader();
    for (;;) {
        const some = await new Promise((done, fail) => reader.readEntries(done, fail)); // a hundred at a time
        if (!some.length) return;
        for (const child of some) await walk(child, found);
    }
}

// Files under a label, with names that no two of them share.
export function underLabel(label, files) {
    const taken = new Set();
    return files.map(({ path, blob }) => {
        const name = path.split("/").pop();
        let unique = name;
        for (let n = 2; taken.has(unique); n++) unique = name.replace(/(\.[^.]*)?$/, `-${n}$1`);
        taken.add(unique);
        return { path: `${label.replaceAll("/", "-")}/${unique}`, blob };
    });
}

// Makes `node` a place to drop things on.
export function dropTarget(node, take) {
    let depth = 0;
    const over = (by) => node.classList.toggle("over", (depth += by) > 0);
    node.addEventListener("dragenter", (event) => (event.preventDefault(), over(1)));
    node.addEventListener("dragleave", () => over(-1));
    node.addEventListener("dragover", (event) => event.preventDefault());
    node.addEventListener("drop", async (event) => {
        event.preventDefault();
        event.stopPropagation();
        over(-depth);
        take(await filesOfDrop(event.dataTransfer));
    });
    return node;
}
