"""`python -m services.pictures`: draws thumbnails for the API, a line of JSON each: an order in, a thumbnail out.

Strangers' pictures are decoded here and not in the API's process, within limits of memory and time. It ends with its
stdin.
"""

import base64
import io
import os
import sys
from contextlib import closing

import pillow_heif
from PIL import Image, UnidentifiedImageError

from services.contract.errors import DataUnreadable, FilesAway
from services.contract.thumbnail import Thumbnail, ThumbnailOrder
from services.datasets.index import Archive, IndexedImage
from services.pictures.bounds import FORMATS, Unreadable, in_words, limit_memory, limit_time, refuse_large
from services.pictures.shown import shown

SECONDS = 20  # of a core that one may take
QUALITY = 85


def main() -> None:
    pillow_heif.register_heif_opener(thumbnails=False)
    os.nice(10)
    limit_memory()
    for line in sys.stdin:
        limit_time(SECONDS)
        print(drawn(ThumbnailOrder.model_validate_json(line)).model_dump_json(), flush=True)


def drawn(order: ThumbnailOrder) -> Thumbnail:
    try:
        with closing(Archive(order.archive)) as archive:
            content = archive.read(IndexedImage(*order.image))  # type: ignore[arg-type]
        return Thumbnail(jpeg=base64.b64encode(_jpeg(content, order.side)))
    except FilesAway:
        return Thumbnail(away=True)
    except (Unreadable, DataUnreadable) as error:
        return Thumbnail(refusal=str(error))
    except UnidentifiedImageError:
        return Thumbnail(refusal="no image format that is known, or damaged")
    except MemoryError:
        return Thumbnail(refusal="it takes more memory to decode than it may")
    except Exception as error:  # decoders raise whatever they like on damaged bytes
        return Thumbnail(refusal=in_words(error))


def _jpeg(content: bytes, side: int) -> bytes:
    with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", *FORMATS)) as image:
        image.draft("RGB", (side, side))  # a JPEG's: no smaller than that
        refuse_large(image)
        upright, _ = shown(image)
    upright.thumbnail((side, side))
    jpeg = io.BytesIO()
    upright.save(jpeg, "JPEG", quality=QUALITY)
    return jpeg.getvalue()


if __name__ == "__main__":
    main()
