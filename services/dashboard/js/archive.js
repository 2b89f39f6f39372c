// Pictures by their labels, as one tar: the files are not read before the bytes are sent.

const BLOCK = 512;
const text = new TextEncoder();

// `files`: [{path, blob}] → a Blob.
export function tar(files) {
    const parts = files.flatMap(({ path, blob }) => [...headersOf(path, blob.size), blob, padding(blob.size)]);
    return new Blob([...parts, new Uint8Array(2 * BLOCK)], { type: "application/x-tar" });
}

// A path that a ustar header has no room for stands in a pax header before it (POSIX.1-2001).
function headersOf(path, size) {
    const name = text.encode(path);
    if (name.length <= 100) return [header(name, size, "0")];
    const pax = record("path", path);
    return [
        header(text.encode("pax"), pax.length, "x"),
        pax,
        padding(pax.length),
        header(name.slice(0, 100), size, "0"),
    ];
}

function record(name, value) {
    const rest = text.encode(` ${name}=${value}\n`);
    let length = rest.length + 1;
    while (String(length).length + rest.length !== length) length++;
    return new Uint8Array([...text.encode(String(length)), ...rest]);
}

function header(name, size, type) {
    const block = new Uint8Array(BLOCK);
    const put = (at, value) => block.set(text.encode(value), at);
    block.set(name, 0);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, size.toString(8).padStart(11, "0") + "\0");
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, type);
    put(257, "ustar\0" + "00");
    const sum = block.reduce((total, byte) => total + byte, 0);
    put(148, sum.toString(8).padStart(6, "0") + "\0 ");
    return block;
}

const padding = (size) => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);
