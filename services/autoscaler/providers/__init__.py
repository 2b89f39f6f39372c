"""Where workers come from: processes of this machine, or containers of a compose project."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.settings import Settings


class Condition(StrEnum):
    RUNNING = "running"
    FAILING = "failing"  # it is started again and again by whoever runs it
    ENDED = "ended"  # drained: it will not come back
    DIED = "died"


@dataclass(frozen=True)
class WorkerInstance:
    """A worker's process or container; `host` and `pid` are what the worker reports of itself, pid 0 if any."""

    id: str
    kind: str
    condition: Condition
    host: str
    pid: int = 0


class ProviderError(Exception):
    """Why no worker can be had; a sentence for whoever may see the fleet. Details are for the log."""


class Provider(Protocol):
    """Each method may raise ProviderError."""

    name: str

    def instances(self) -> list[WorkerInstance]:
        """All that are there, also what has ended since the last look; that is then removed."""
        ...

    def start(self, kind: str) -> str:
        """One more; its id."""
        ...

    def stop(self, id: str) -> None:
        """SIGTERM and time to end well, for one that cannot be asked to drain. Does not wait."""
        ...

    def close(self) -> None: ...


def provider(settings: Settings) -> Provider:
    """Raises ProviderError."""
    if settings.autoscale_provider == "process":
        from services.autoscaler.providers.process import Processes

        return Processes(settings)
    try:
        from services.autoscaler.providers.compose import Containers
    except ImportError:
        raise ProviderError("The compose provider needs Docker's library: pip install 'headway[compose]'.") from None
    return Containers(settings.compose_project, settings.timing)
