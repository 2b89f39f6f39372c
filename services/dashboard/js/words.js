// Numbers and times as people read them.

export function bytes(count) {
    for (const unit of ["B", "kB", "MB", "GB"]) {
        if (count < 1000 || unit === "GB")
            return `${count < 10 && unit !== "B" ? count.toFixed(1) : Math.round(count)} ${unit}`;
        count /= 1000;
    }
}

export function duration(seconds) {
    if (seconds === null || seconds === undefined) return "–";
    if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
    return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

export function ago(unix) {
    const seconds = Math.max(0, Date.now() / 1000 - unix);
    if (seconds < 60) return "just now";
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
    return new Date(unix * 1000).toLocaleDateString();
}

export const clock = (unix) => new Date(unix * 1000).toLocaleTimeString();

export const percent = (share, digits = 1) =>
    share === null || share === undefined ? "–" : `${(100 * share).toFixed(digits)}\u00a0%`;

export function number(value, digits = 4) {
    if (value === null || value === undefined) return "–";
    return Number.isInteger(value) ? value.toLocaleString("en") : Number(value.toPrecision(digits)).toString();
}

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

// A job's name: its suffix, else the last characters of its id.
export const nameOf = (job) => job.suffix || job.id.slice(-6);
