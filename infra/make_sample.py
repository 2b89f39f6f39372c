"""Makes services/client/sample/digits.zip from scikit-learn's bundled digits: `python infra/make_sample.py`.

The first IMAGES_A_LABEL images of each digit, enlarged eightfold, as gray PNG files in ten folders.
"""

import io
import zipfile
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

IMAGES_A_LABEL = 40
SIDE = 64  # pixels; scikit-learn's are 8 × 8
OUT = Path(__file__).parent.parent / "services" / "client" / "sample" / "digits.zip"


def main() -> None:
    digits = load_digits()
    seen = dict.fromkeys(range(10), 0)
    with zipfile.ZipFile(OUT, "w", zipfile.ZIP_STORED) as archive:
        for pixels, label in zip(digits.images, digits.target.tolist(), strict=True):
            if seen[label] < IMAGES_A_LABEL:
                entry = zipfile.ZipInfo(f"digits/{label}/{seen[label]:03d}.png", date_time=(1998, 7, 1, 0, 0, 0))
                archive.writestr(entry, _png((pixels * 255 / 16).round().astype("uint8")))
                seen[label] += 1


def _png(pixels) -> bytes:  # type: ignore[no-untyped-def]
    image = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    image.save(content, "png", optimize=True)
    return content.getvalue()


if __name__ == "__main__":
    main()
