"""What lists archives: see `services.datasets`."""

from services.api.readers import NoAnswer, ReaderProcesses
from services.contract.errors import FilesAway, InvalidArchive
from services.contract.file import Listed, ListingOrder
from services.contract.timing import Timing


class Listers(ReaderProcesses):
    def __init__(self, timing: Timing) -> None:
        super().__init__("services.datasets", timing.listing)

    async def list(self, tenant: str, order: ListingOrder) -> Listed:
        """Raises InvalidArchive, OSError."""
        try:
            told = Listed.model_validate_json(await self.ask(tenant, order.model_dump_json()))
        except NoAnswer as reason:
            raise InvalidArchive(f"the archive could not be listed: {reason}") from None
        if told.refusal is not None:
            raise InvalidArchive(told.refusal)
        if told.errno is not None:
            raise (FilesAway if told.away else OSError)(told.errno, told.strerror)
        return told
