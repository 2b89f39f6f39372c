"""`python -m workers.vision.forget FOLDER < HASHES`: a tenant's features of pictures that nobody has any more.

A segment that holds one of them goes whole: its others are computed again when they are needed.
"""

import sys
from contextlib import suppress
from pathlib import Path

from workers.vision.segmentfile import keys_of, split_keys


def forget(folder: Path, hashes: set[bytes]) -> int:
    """How many segments went."""
    gone = 0
    for path in folder.glob("*/*.features"):
        with suppress(FileNotFoundError):
            if not keys_of(path).isdisjoint(hashes):
                path.unlink()
                gone += 1
    return gone


if __name__ == "__main__":
    print(forget(Path(sys.argv[1]), set(split_keys(sys.stdin.buffer.read()))))
