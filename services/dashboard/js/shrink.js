// Large photographs made small before they are sent: the backbone sees 224 × 224 pixels of them, whatever they weigh.

const SIDE = 512; // pixels of the short side that are left, as `headway train --shrink` does
const QUALITY = 0.92;
const AT_ONCE = 4; // a decoded photograph takes some 50 MB
const PHOTOGRAPH = /\.(jpe?g|heic|heif|png|webp)$/i;

// Of [{path, blob}] those that are large, smaller; whatever the browser cannot decode goes as it is.
export async function shrunk(files, tell) {
    const made = [...files];
    let next = 0;
    let done = 0;
    const work = async () => {
        while (next < files.length) {
            const i = next++;
            made[i] = await small(files[i]);
            tell(++done, files.length);
        }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    return made;
}

async function small(file) {
    if (!PHOTOGRAPH.test(file.path)) return file;
    let image = null;
    try {
        image = await createImageBitmap(file.blob, { imageOrientation: "from-image" });
        const scale = SIDE / Math.min(image.width, image.height);
        if (scale >= 1) return file;
        const canvas = new OffscreenCanvas(Math.round(image.width * scale), Math.round(image.height * scale));
        const context = canvas.getContext("2d", { alpha: false });
        context.imageSmoothingQuality = "high";
        context.fillStyle = "white"; // what is transparent, as the service shows it
        context.fillRect(0, 0, canvas.width, canvas.height);
        context.drawImage(image, 0, 0, canvas.width, canvas.height);
        const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
        return { path: /\.jpe?g$/i.test(file.path) ? file.path : `${file.path}.jpg`, blob };
    } catch {
        return file;
    } finally {
        image?.close();
    }
}
