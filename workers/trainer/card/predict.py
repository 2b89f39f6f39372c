"""Says what images show: `python predict.py photo.jpg …`. Needs onnxruntime, numpy, Pillow, and the files beside it."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+")
    parser.add_argument("--top-k", type=int, default=5, help="labels an image, the likeliest first (5)")
    options = parser.parse_args()
    labels = json.loads((HERE / "labels.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
    status = 0
    for path in options.images:
        try:
            image = pixels(path)
        except Exception as error:  # Pillow raises whatever it likes on damaged bytes
            print(f"{path} cannot be read as an image: {error}", file=sys.stderr)
            status = 1
            continue
        if len(options.images) > 1:
            print(f"{path}:")
        probabilities = session.run(["probabilities"], {"image": image})[0]
        for best in (-probabilities).argsort(kind="stable")[: options.top_k]:
            print(f"{labels[best]} {probabilities[best]:.4f}")
    return status


def pixels(path: str) -> Any:
    """(height, width, 3) uint8 as a viewer shows them: upright, and what is transparent on white."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode[0] in "IF":
        raise ValueError("it has more than 8 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() == (0, 0):  # as the service has it: the alpha means nothing
            return np.asarray(image.convert("RGB"))
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


if __name__ == "__main__":
    sys.exit(main())
