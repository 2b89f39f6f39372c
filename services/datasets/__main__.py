"""`python -m services.datasets`: lists archives for the API, a line of JSON each: the path in, what became of it out.

Strangers' archives are read here and not in the API's process: what they cost in memory and time is bounded, and nobody
else waits for it. Ends with its stdin.
"""

import os
import resource
import sys
from pathlib import Path

from services.contract.errors import InvalidArchive
from services.contract.file import Listed
from services.datasets.index import contents, write_index
from services.datasets.listing import list_archive

MEMORY = 4 * 1024**3  # bytes of address space: a million entries take one


def main() -> None:
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    for line in sys.stdin:
        print(listed(Path(line.rstrip("\n"))).model_dump_json(), flush=True)


def listed(path: Path) -> Listed:
    """Writes the index beside `path`."""
    try:
        listing = list_archive(path)
        index = path.with_name(path.name + ".index")
        write_index(listing.images, index)
    except InvalidArchive as error:
        return Listed(refusal=error.message)
    except MemoryError:
        return Listed(refusal="the archive has more entries than can be listed: pack fewer")
    except OSError as error:
        return Listed(errno=error.errno, strerror=error.strerror)
    return Listed(data=listing.data, index=index, contents=contents(listing.images, listing.ignored))


if __name__ == "__main__":
    main()
