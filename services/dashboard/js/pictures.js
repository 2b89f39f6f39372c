// Small pictures of images that the service holds, fetched as they come into sight.

import { imagePath, picture } from "./api.js";
import { h } from "./dom.js";

const seen = new IntersectionObserver(
    (entries) => {
        for (const { target, isIntersecting } of entries) {
            if (!isIntersecting) continue;
            seen.unobserve(target);
            fetchInto(target);
        }
    },
    { rootMargin: "200px" },
);

export function thumbnail(file, path, alt, size = 128) {
    const image = h("img.thumb", { alt, width: size, height: size });
    image.dataset.at = imagePath(file, path, 2 * size > 1024 ? 1024 : 2 * size);
    seen.observe(image);
    return image;
}

async function fetchInto(image) {
    try {
        image.src = await picture(image.dataset.at);
        image.onload = () => image.src.startsWith("blob:") && URL.revokeObjectURL(image.src);
        image.onerror = () => broken(image);
    } catch {
        broken(image);
    }
}

function broken(image) {
    image.replaceWith(h("span.thumb.broken", { role: "img", "aria-label": image.alt }, "cannot be shown"));
}

// A figure of an image that was judged: what it has, what it was taken for, how sure.
export function judgedFigure(image) {
    const wrong = image.label !== image.predicted;
    const says = `${image.label} taken for ${image.predicted}, ${Math.round(100 * image.probability)} %`;
    return h(
        "figure",
        { className: `judged ${wrong ? "wrong" : "right"}` },
        thumbnail(image.file, image.path, `${image.path}: ${says}`),
        h(
            "figcaption",
            h("b", image.predicted),
            ` ${Math.round(100 * image.probability)} %`,
            h("br"),
            wrong ? `is ${image.label}` : "right",
            h("span.path", image.path),
        ),
    );
}
