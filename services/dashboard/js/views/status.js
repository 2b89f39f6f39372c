// A job's status and progress, the same wherever they stand.

import { h } from "../dom.js";
import { duration, plural } from "../words.js";

export const pill = ({ status }) => h("span", { className: `pill ${status}` }, status);

export function bar({ status, progress, queue }) {
    if (status === "queued") return h("span.quiet", queue ? `${plural(queue.ahead, "job")} ahead` : "waits");
    const label = `${Math.round(progress.percent)} %`;
    return h("span.bar", h("progress", { max: 100, value: progress.percent, "aria-label": "progress" }), ` ${label}`);
}

export function pace({ status, progress }) {
    if (status !== "running") return "";
    const said = [progress.phase];
    if (progress.total_images && progress.phase === "features")
        said.push(`${progress.images} of ${plural(progress.total_images, "image")}`);
    if (progress.total_steps && progress.phase === "training")
        said.push(`step ${progress.step} of ${progress.total_steps}`);
    if (progress.images_per_second) said.push(`${Math.round(progress.images_per_second)} images/s`);
    if (progress.eta_seconds) said.push(`${duration(progress.eta_seconds)} left`);
    return said.join(" · ");
}
