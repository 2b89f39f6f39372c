"""Heads by their key: some thousands of them, the least recently asked out first."""

import threading
from collections import OrderedDict

from services.contract.errors import FilesAway
from services.contract.prediction import HeadSource
from services.located import read_all
from workers.vision.heads import Head, HeadUnreadable, read_head

BYTES = 64 * 1024**2  # of all that are kept: three thousand heads of 10 labels


class Heads:
    """`files`: where the root of the store of bytes is."""

    def __init__(self, files: str) -> None:
        self._files = files
        self._kept: OrderedDict[str, Head] = OrderedDict()
        self._bytes = 0
        self._turn = threading.Lock()

    def get(self, source: HeadSource, content: bytes | None) -> Head | None:
        """`content`, where it came with the order; None where it has no place either. Raises HeadUnreadable."""
        with self._turn:
            if source.key in self._kept:
                self._kept.move_to_end(source.key)
                return self._kept[source.key]
        if content is None and source.place is None:
            return None
        head = read_head(self._read(source) if content is None else content)
        with self._turn:
            self._keep(source.key, head)
        return head

    def _keep(self, key: str, head: Head) -> None:
        if key not in self._kept:
            self._bytes += _size(head)
        self._kept[key] = head
        while self._bytes > BYTES and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])

    def _read(self, source: HeadSource) -> bytes:
        try:
            return read_all(f"{self._files}/{source.place}")
        except FilesAway:
            raise
        except OSError as error:
            raise HeadUnreadable(f"the model's head is no longer in the file store ({error.strerror})") from None


def _size(head: Head) -> int:
    return int(head.weight.nbytes + head.bias.nbytes)
