// A file of any size, in parts: each is sent again where the connection breaks, so an upload outlives a restart of the API.

import { Problem, post, postForm } from "./api.js";

const PART = 4 * 1024 * 1024; // bytes: small, so that the bar moves
const PARTS = 900; // at most: of a larger file the parts are larger
const AT_ONCE = 2;
const PAUSES = [500, 1000, 2000, 4000, 8000, 8000]; // ms before a part is sent again

// The file that became of `blob`. `tell`: bytes sent so far. Throws Problem.
export async function upload(blob, name, tell, signal) {
    const announced = { filename: name, bytes: blob.size, purpose: "fine-tune", mime_type: blob.type };
    const started = await post("v1/uploads", announced, { signal });
    const size = Math.max(PART, Math.ceil(blob.size / PARTS));
    const ids = new Array(Math.ceil(blob.size / size));
    let next = 0;
    let sent = 0;
    const work = async () => {
        while (next < ids.length) {
            const i = next++;
            const part = blob.slice(i * size, (i + 1) * size);
            ids[i] = await persistently(() => sendPart(started.id, part, signal), signal);
            tell((sent += part.size));
        }
    };
    try {
        await Promise.all(Array.from({ length: AT_ONCE }, work));
        const done = await persistently(
            () => post(`v1/uploads/${started.id}/complete`, { part_ids: ids }, { signal }),
            signal,
        );
        return done.file;
    } catch (error) {
        post(`v1/uploads/${started.id}/cancel`).catch(() => {}); // it would go by itself in a day
        throw error;
    }
}

async function sendPart(upload, part, signal) {
    const form = new FormData();
    form.append("data", part);
    return (await postForm(`v1/uploads/${upload}/parts`, form, { signal })).id;
}

async function persistently(send, signal) {
    for (let tries = 0; ; tries++) {
        try {
            return await send();
        } catch (error) {
            const mayPass = !(error instanceof Problem) || [408, 429, 502, 503, 504].includes(error.status);
            if (signal.aborted || !mayPass || tries >= PAUSES.length) throw error;
            await new Promise((done) => setTimeout(done, PAUSES[tries]));
        }
    }
}
