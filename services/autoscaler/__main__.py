"""`python -m services.autoscaler`: until SIGTERM or SIGINT; then processes of its own are drained, containers stay."""

import asyncio

from services.autoscaler.loop import Autoscaler
from services.autoscaler.providers import ProviderError, provider
from services.process import daemon
from services.settings import Settings
from services.store.store import Store


async def work(store: Store, config: Settings) -> None:
    try:
        workers = provider(config)
    except ProviderError as error:
        raise SystemExit(str(error)) from None
    try:
        await Autoscaler(store, workers, config).run()
    finally:
        await asyncio.to_thread(workers.close)


if __name__ == "__main__":
    daemon.main(work)
