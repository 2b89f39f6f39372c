// The webcam's picture, twice a second.

import { h } from "../dom.js";

const EVERY = 500; // ms
const SIDE = 512; // pixels of the longer side that are sent

export function cameraOf(ask, started) {
    const video = h("video", { muted: true, playsInline: true, hidden: true, "aria-label": "the camera's picture" });
    const says = h("p.quiet", { role: "status" });
    let stream = null;
    let turn = 0; // goes up with each start and stop: an answer to an older one comes too late

    const stop = () => {
        turn++;
        end(stream);
        stream = null;
        video.hidden = true;
        button.textContent = "Use the camera";
    };
    const start = async () => {
        const mine = ++turn;
        if (!navigator.mediaDevices) {
            says.textContent = "A browser gives its camera only to https, or to localhost: open this page there.";
            return;
        }
        let given;
        try {
            given = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
        } catch (error) {
            says.textContent = `The camera cannot be had: ${error.message}.`;
            return;
        }
        if (mine !== turn) return end(given); // the page was left while the browser asked
        stream = video.srcObject = given;
        video.hidden = false;
        button.textContent = "Stop the camera";
        started();
        await video.play();
        while (mine === turn) {
            const began = performance.now();
            await ask(await frame(video));
            await new Promise((done) => setTimeout(done, Math.max(0, EVERY - (performance.now() - began))));
        }
    };
    const button = h("button", { onclick: () => (stream ? stop() : start()) }, "Use the camera");
    return { button, node: h("div", video, says), stop };
}

const end = (stream) => stream?.getTracks().forEach((track) => track.stop());

function frame(video) {
    const scale = Math.min(1, SIDE / Math.max(video.videoWidth, video.videoHeight));
    const canvas = new OffscreenCanvas(Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale));
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    return canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
}
