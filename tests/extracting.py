"""Features of some images, without a cache."""

from collections.abc import Generator, Sequence

from workers.vision.backbone import Backbone
from workers.vision.dataset import Example
from workers.vision.pipeline import BATCH, Extracted, extract_batches


def extract(examples: Sequence[Example], backbone: Backbone) -> Generator[Extracted]:
    """All of them, batch by batch, in order."""
    count = BATCH[backbone.device.type]
    return extract_batches((examples[at : at + count] for at in range(0, len(examples), count)), backbone)
