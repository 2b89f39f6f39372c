"""`python -m services.datasets`: lists uploads for the API, a line of JSON each: an order in, what became of it out.

Strangers' archives are read here and not in the API's process: what they cost in memory and time is bounded, and nobody
else waits for it. Ends with its stdin.
"""

import os
import resource
import sys

from services.contract.errors import FilesAway, InvalidArchive
from services.contract.file import Listed, ListingOrder
from services.datasets.index import write_index, write_report
from services.datasets.listing import list_upload

MEMORY = 4 * 1024**3  # bytes of address space: a million entries take one


def main() -> None:
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    for line in sys.stdin:
        print(listed(ListingOrder.model_validate_json(line)).model_dump_json(), flush=True)


def listed(order: ListingOrder) -> Listed:
    """Writes index and report beside the order's draft."""
    try:
        listing = list_upload(order.path, order.layout)
        index, report = f"{order.draft}.index", f"{order.draft}.report"
        write_index(listing.images, index)
        write_report(listing.report, report)
    except InvalidArchive as error:
        return Listed(refusal=error.message)
    except MemoryError:
        return Listed(refusal="the archive has more entries than can be listed: pack fewer")
    except FilesAway as error:
        return Listed(away=True, errno=error.errno, strerror=error.strerror)
    except OSError as error:
        return Listed(errno=error.errno, strerror=error.strerror)
    return Listed(
        data=str(listing.data), index=index, report=report, contents=listing.contents, findings=listing.report.short
    )


if __name__ == "__main__":
    main()
