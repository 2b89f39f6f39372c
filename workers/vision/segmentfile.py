"""How a segment of the feature cache begins, for those who need no more of it, and no torch.

8 s magic · u32 crc32 of all that follows
u32 rows · u32 dim · f32 seconds that an image took
rows × 32 bytes: sha256 of each image · …
"""

import struct
from pathlib import Path

MAGIC = b"HEADWAY2"
CHECK = struct.Struct("<8sI")
SHAPE = struct.Struct("<IIf")
KEY = 32  # bytes


def keys_of(path: Path) -> set[bytes]:
    """Of the images whose features lie there; none of a file that is no segment. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(CHECK.size + SHAPE.size)
        if len(head) < CHECK.size + SHAPE.size or not head.startswith(MAGIC):
            return set()
        rows = SHAPE.unpack_from(head, CHECK.size)[0]
        return set(split_keys(file.read(KEY * rows)))


def split_keys(content: bytes) -> list[bytes]:
    """Of keys that lie one after another."""
    return [content[at : at + KEY] for at in range(0, len(content), KEY)]
