"""Background work of which any number of processes may exist, and one works at a time."""

from services.store.scripts import Answer, Scripts


class Turns:
    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def take(self, lock: str, me: str, *, seconds: float) -> bool:
        """Whether it is `me`'s turn; if so it lasts for `seconds`. One try: its caller counts from when it asked."""
        answer, _ = await self._scripts("lock", [lock], [me, round(seconds * 1000)], patience=0)
        return answer is Answer.OK
