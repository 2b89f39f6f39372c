"""How often a tenant does something, within a minute."""

from services.contract.errors import RateLimited
from services.contract.timing import Timing
from services.store import keys
from services.store.scripts import Answer, Scripts


class Rates:
    def __init__(self, scripts: Scripts, timing: Timing) -> None:
        self._scripts, self._timing = scripts, timing

    async def spend(self, tenant: str, what: str, most: int) -> None:
        """Once more. Raises RateLimited. 0 for any number."""
        if not most:
            return
        key = keys.rate(tenant, what)
        answer, rest = await self._scripts("spend", [key], [most, round(self._timing.rate_window * 1000)])
        if answer is Answer.WAITS:
            seconds = int(rest[0]) / 1000
            raise RateLimited(f"More than {most} {what} a minute: again in {seconds:.0f} s.", retry_after=seconds)
