"""What an image of each label counts in the loss."""

import numpy as np

from services.contract.spec import TrainerSpec
from workers.vision.arrays import Floats, Integers


def class_weights(spec: TrainerSpec, labels: Integers) -> Floats | None:
    """(C,) float32 for the training images' labels (n,); None where all count alike. Outputs without a label have 1.

    "balanced" is n / (labels × count), as scikit-learn has it, over all indexed images.
    """
    asked = spec.class_weights
    if asked is None:
        return None
    weights = np.ones(spec.num_labels, dtype=np.float32)
    if asked == "balanced":
        counts = np.bincount(labels, minlength=spec.num_labels)
        there = counts > 0
        weights[there] = len(labels) / (there.sum() * counts[there])
    else:
        for label, weight in asked.items():
            weights[spec.labels.index(label)] = weight
    return weights
