// The public API, and nothing else. A key, where one is needed, is asked for once and kept for the session only.

import { askForKey } from "./key.js";

export const root = new URL("../../", import.meta.url); // of the API, whatever path it is served under
const KEY = "headway-key";

export class Problem extends Error {
    constructor(status, body) {
        super(body?.error?.message || body?.detail || `The service answered ${status}.`);
        this.status = status;
        this.param = body?.error?.param ?? null;
        this.code = body?.error?.code ?? null;
    }
}

export const signedIn = new EventTarget(); // "changed", with each new key
export const key = () => sessionStorage.getItem(KEY);

export function headers() {
    const watching = { "Headway-Watching": "true" }; // that a page looked at a job says nothing of who submitted it
    return key() ? { ...watching, Authorization: `Bearer ${key()}` } : watching;
}

// The answer to a request. Throws Problem; asks for a key where one is missing, and goes on with it.
export async function request(path, options = {}) {
    for (;;) {
        const sent = key();
        const response = await fetch(new URL(path, root), {
            cache: "no-store",
            ...options,
            headers: { ...headers(), ...options.headers },
        });
        if (response.ok) return response;
        const body = await response.json().catch(() => null);
        if (response.status !== 401) throw new Problem(response.status, body);
        if (key() === sent) keep(await askForKey(sent !== null));
    }
}

function keep(given) {
    if (given === key()) return; // another request has kept it
    sessionStorage.setItem(KEY, given);
    signedIn.dispatchEvent(new Event("changed"));
}

export const get = async (path, options) => (await request(path, options)).json();
export const remove = async (path) => (await request(path, { method: "DELETE" })).json();
export const postForm = async (path, body, options) =>
    (await request(path, { method: "POST", body, ...options })).json();

export async function post(path, body, options = {}) {
    const json =
        body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
    return (await request(path, { method: "POST", ...json, ...options })).json();
}

// Where a picture of the API can be shown from: its address, or, where a key is needed, its bytes.
export async function picture(path) {
    if (!key()) return new URL(path, root).href;
    return URL.createObjectURL(await (await request(path, { cache: "default" })).blob());
}

export const imagePath = (file, path, size) =>
    `v1/files/${file}/images/${path.split("/").map(encodeURIComponent).join("/")}?size=${size}`;

// Saves what lies at `path`, by the browser's own download where no key is needed.
export async function save(path, name) {
    const href = key() ? URL.createObjectURL(await (await request(path)).blob()) : new URL(path, root).href;
    const link = Object.assign(document.createElement("a"), { href, download: name });
    link.click();
    if (href.startsWith("blob:")) setTimeout(() => URL.revokeObjectURL(href), 60_000); // once it is surely saved
}
