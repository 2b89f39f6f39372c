"""Features kept beside a file that lies in a store of objects, for workers of other machines.

They are segments of the cache in pieces, named after the file: whoever deletes the file deletes them with it. A piece
is whole or absent, and rows are known by content, so that two workers may write the same one.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count

from services.located import read_all, size_of, written
from workers.vision.dataset import Example
from workers.vision.segments import FeatureCache, Key, packed

PIECE = 16_384  # rows: 34 MB
FEW = 256  # images that are computed sooner than a piece is fetched


class Beside:
    """Of those files of a job that lie in such a store. `space` names all that features depend on, but for the
    image."""

    def __init__(self, examples: Sequence[Example], space: str) -> None:
        self._space = space
        self._keys: dict[str, dict[Key, None]] = {}  # of each file's images, in order
        for example in examples:
            if example.archive.is_remote:
                self._keys.setdefault(example.archive.where, {})[example.key] = None

    def fill(self, cache: FeatureCache) -> None:
        """What others have kept of files of which much is missing. Raises OSError."""
        for file, keys in self._keys.items():
            if sum(not cache.has(key) for key in keys) > min(FEW, len(keys) // 2):
                for content in self._pieces(file):
                    cache.absorb(content)

    def keep(self, cache: FeatureCache, *, anew: bool) -> None:
        """All of it, once it is there; what is kept already, only `anew`. Raises OSError."""
        for file, keys in self._keys.items():
            those = list(keys)
            for number, at in enumerate(range(0, len(those), PIECE)):
                if anew or not self._is_kept(file, number):
                    with written(self._url(file, number)) as piece:
                        piece.write(packed(cache.segment(those[at : at + PIECE])))

    def _pieces(self, file: str) -> Iterator[bytes]:
        with suppress(FileNotFoundError):
            for number in count():
                yield read_all(self._url(file, number))

    def _is_kept(self, file: str, number: int) -> bool:
        with suppress(FileNotFoundError):
            return size_of(self._url(file, number)) > 0
        return False

    def _url(self, file: str, number: int) -> str:
        return f"{file}.{self._space}.{number}.features"
