// The webcam's picture, twice a second.

import { h } from "../dom.js";

const EVERY = 500; // ms
const SIDE = 512; // pixels of the longer side that are sent

export function cameraOf(ask, started) {
    const video = h("video", { muted: true, playsInline: true, hidden: true, "aria-label": "the camera's picture" });
    const says = h("p.quiet", { role: "status" });
    let stream = null;

    const stop = () => {
        stream?.getTracks().forEach((track) => track.stop());
        stream = null;
        video.hidden = true;
        button.textContent = "Use the camera";
    };
    const start = async () => {
        if (!navigator.mediaDevices) {
            says.textContent = "A browser gives its camera only to https, or to localhost: open this page there.";
            return;
        }
        try {
            stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
        } catch (error) {
            says.textContent = `The camera cannot be had: ${error.message}.`;
            return;
        }
        video.srcObject = stream;
        video.hidden = false;
        button.textContent = "Stop the camera";
        started();
        await video.play();
        look(stream);
    };
    async function look(mine) {
        while (stream === mine) {
            const began = performance.now();
            await ask(await frame(video));
            await new Promise((done) => setTimeout(done, Math.max(0, EVERY - (performance.now() - began))));
        }
    }
    const button = h("button", { onclick: () => (stream ? stop() : start()) }, "Use the camera");
    return { button, node: h("div", video, says), stop };
}

function frame(video) {
    const scale = Math.min(1, SIDE / Math.max(video.videoWidth, video.videoHeight));
    const canvas = new OffscreenCanvas(Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale));
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    return canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
}
