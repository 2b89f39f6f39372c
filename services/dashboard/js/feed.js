// One stream of all that happens, for all tabs of this browser: the tab that holds the lock reads it and tells the others.
//
// It goes on after the last event that any tab heard, so nothing is missed and nothing comes twice. `resync` says: look
// again. It comes with each connection, as what was asked for while there was none has failed, and where the service says
// that something was trimmed.

import { get, headers, key, root, signedIn } from "./api.js";

const SILENCE = 40_000; // ms; the service says something each 15 s
const TOGETHER = 100; // ms in which one look answers all that asks for it
const PAUSES = [500, 1000, 2000, 4000]; // ms before the next try

export const feed = new EventTarget();
let channel = null; // to the other tabs that are signed in by the same key
let last = null;
let state = null; // of the connection, as the tab that reads knows it
let reading = null; // the connection that is open, to be cut where it went dead in a sleep
let turn = 0; // goes up with each key: who follows for an older one ends

export function start() {
    const mine = ++turn;
    channel?.close();
    channel = null;
    last = null;
    if (!navigator.locks) return follow(mine); // http from another host: each tab reads for itself
    const name = `headway ${root} ${digest(key() ?? "")}`;
    channel = new BroadcastChannel(name);
    channel.onmessage = ({ data }) => {
        if (data.event !== "who reads?") hear(data);
        else if (state) channel.postMessage({ event: state });
    };
    channel.postMessage({ event: "who reads?" });
    navigator.locks.request(name, () => follow(mine));
}

addEventListener("online", () => reading?.abort());
signedIn.addEventListener("changed", () => {
    if (!turn) return; // nobody follows yet
    reading?.abort();
    start();
});

// Tells keys apart, and says nothing of them.
const digest = (text) => [...text].reduce((sum, character) => (Math.imul(sum, 31) + character.charCodeAt(0)) | 0, 7);

async function follow(mine) {
    for (let tries = 0; mine === turn;) {
        try {
            reading = new AbortController();
            const response = await fetch(new URL("v1/events", root), {
                headers: { ...headers(), ...(last ? { "Last-Event-ID": last } : {}) },
                signal: reading.signal,
                cache: "no-store",
            });
            if (response.status === 401) get("v1/queue").catch(() => {}); // which asks for a key; then it starts anew
            if (!response.ok) throw new Error(`${response.status}`);
            tell({ event: (state = "online") });
            tries = 0;
            await read(response.body, reading);
        } catch {
            // whatever broke it, it is taken up again
        }
        if (mine === turn) tell({ event: (state = "offline") });
        await new Promise((done) => setTimeout(done, PAUSES[Math.min(tries++, PAUSES.length - 1)]));
    }
}

async function read(body, connection) {
    const pieces = body.pipeThrough(new TextDecoderStream()).getReader();
    let watchdog = null;
    let text = "";
    try {
        for (;;) {
            clearTimeout(watchdog);
            watchdog = setTimeout(() => connection.abort(), SILENCE);
            const { value, done } = await pieces.read();
            if (done) return;
            text += value;
            const frames = text.split("\n\n");
            text = frames.pop();
            frames.map(parsed).filter(Boolean).forEach(tell);
        }
    } finally {
        clearTimeout(watchdog);
    }
}

function parsed(frame) {
    const fields = { event: "message", data: "" };
    for (const line of frame.split("\n")) {
        const at = line.indexOf(":");
        if (at > 0) fields[line.slice(0, at)] = line.slice(at + 1).trimStart();
    }
    if (fields.data === "") return null;
    return { id: fields.id, event: fields.event, data: JSON.parse(fields.data) };
}

function tell(message) {
    hear(message);
    channel?.postMessage(message);
}

function hear({ id, event, data }) {
    if (id) last = id;
    if (event === "message") feed.dispatchEvent(new CustomEvent("happened", { detail: data }));
    else if (event === "start" || event === "gap") resync();
    else if (event === "online" || event === "offline")
        feed.dispatchEvent(new CustomEvent("connection", { detail: event }));
}

let soon = null;

// Once, however many gaps come together.
function resync() {
    soon ??= setTimeout(() => {
        soon = null;
        feed.dispatchEvent(new CustomEvent("resync"));
    }, TOGETHER);
}
