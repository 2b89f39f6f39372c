"""Heads by their key: some thousands of them, the least recently asked out first."""

from collections import OrderedDict
from pathlib import Path

from services.contract.prediction import HeadSource
from workers.vision.heads import Head, HeadUnreadable, read_head

BYTES = 64 * 1024**2  # of all that are kept: three thousand heads of 10 labels


class Heads:
    """`files`: the folder of the store of bytes."""

    def __init__(self, files: Path) -> None:
        self._files = files
        self._kept: OrderedDict[str, Head] = OrderedDict()
        self._bytes = 0

    def get(self, source: HeadSource, content: bytes | None) -> Head:
        """`content`, where it came with the order. Raises HeadUnreadable."""
        head = self._kept.pop(source.key, None)
        if head is None:
            head = read_head(self._read(source) if content is None else content)
            self._bytes += _size(head)
        self._kept[source.key] = head
        while self._bytes > BYTES and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return head

    def _read(self, source: HeadSource) -> bytes:
        try:
            return (self._files / (source.place or "")).read_bytes()
        except OSError as error:
            raise HeadUnreadable(f"the model's head is no longer in the file store ({error.strerror})") from None


def _size(head: Head) -> int:
    return int(head.weight.nbytes + head.bias.nbytes)
