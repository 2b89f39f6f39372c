"""The images of a job: read in place through the index that the upload left, labelled, and split."""

from dataclasses import dataclass

import torch

from services.contract.spec import ArchivePaths, TrainerSpec
from services.datasets.index import Archive, IndexedImage, read_index


@dataclass(frozen=True)
class Example:
    """An image with its place: `label` is its index among the job's labels."""

    image: IndexedImage
    archive: Archive
    label: int

    @property
    def key(self) -> bytes:
        return bytes.fromhex(self.image.sha256)

    def read(self) -> bytes:
        return self.archive.read(self.image)


@dataclass(frozen=True)
class Dataset:
    """What is trained on and what is held out, each ordered by path."""

    train: list[Example]
    val: list[Example]
    test: list[Example]

    @property
    def all(self) -> list[Example]:
        return [*self.train, *self.val, *self.test]


def load(spec: TrainerSpec) -> Dataset:
    examples = _examples(spec.training, spec.labels)
    train, val, test = (examples[split] for split in ("train", "val", "test"))
    if spec.validation is not None:
        others = _examples(spec.validation, spec.labels)
        val = others["val"] or others["train"] or others["test"]
    elif not val and spec.split > 0:
        train, val = hold_out(train, spec.split, spec.seed)
    return Dataset(train, val, test)


def hold_out(examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Stratified: of each label's images `share`, at least one and never all."""
    generator = torch.Generator().manual_seed(seed)
    by_label: dict[int, list[int]] = {}
    for index, example in enumerate(examples):
        by_label.setdefault(example.label, []).append(index)
    held: set[int] = set()
    for label in sorted(by_label):
        indices = by_label[label]
        count = min(max(1, round(len(indices) * share)), len(indices) - 1)
        held.update(indices[i] for i in torch.randperm(len(indices), generator=generator)[:count].tolist())
    return (
        [example for index, example in enumerate(examples) if index not in held],
        [example for index, example in enumerate(examples) if index in held],
    )


def _examples(paths: ArchivePaths, labels: list[str]) -> dict[str, list[Example]]:
    archive = Archive(paths.data)
    index_of = {label: index for index, label in enumerate(labels)}
    examples: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    for image in read_index(paths.index):
        examples[image.split].append(Example(image, archive, index_of[image.label]))
    return examples
