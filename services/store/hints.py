"""Celery's side: hints on a queue a device kind. They carry nothing; the records say what there is to do.

A hint is not acknowledged: it is gone once it is taken, and what is lost on the way the reaper publishes again. So
Celery writes nothing but the hints, and a full Redis, which refuses such writes, cannot end a worker (its bookkeeping
of unacknowledged messages did: "Unrecoverable error: OutOfMemoryError", measured). A hint only hastens: a worker that
idles looks at the line itself every few seconds.
"""

import asyncio
import logging

from celery import Celery
from kombu.entity import Exchange, Queue

from services.contract.timing import Timing
from services.store import keys
from services.store.broker import TASK, Consumption, HintTransport
from services.store.commands import Redis

log = logging.getLogger(__name__)


def celery(store_url: str, timing: Timing, consumption: Consumption | None = None) -> Celery:
    """The Celery app, as both sides set it: no acknowledgements, no results, nothing reserved ahead."""
    app = Celery("headway", broker="redis://localhost", set_as_current=False)  # the transport is told which
    app.conf.update(
        task_ignore_result=True,
        task_queues=[_queue(keys.train_queue(kind)) for kind in keys.KINDS],
        task_default_queue=keys.train_queue("any"),
        worker_pool="threads",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # the lease decides how long a job may go on
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # a Redis that refuses (full, read-only, loading) is away, no reason to end
        broker_transport=HintTransport,
        broker_transport_options={
            "url": store_url,
            "consumption": consumption or Consumption(pause=timing.retry_last),
            "ack_emulation": False,
            "socket_timeout": timing.socket,
            "socket_connect_timeout": timing.socket,
        },
    )
    return app


def _queue(name: str) -> Queue:
    """A plain list in Redis: the default exchange needs no binding, and there is nothing to declare."""
    return Queue(name, Exchange(""), routing_key=name, no_ack=True, no_declare=True)


class Hints:
    def __init__(self, redis: Redis, app: Celery) -> None:
        self._redis, self._app = redis, app

    async def publish(self, kind: str) -> bool:
        """Say that there is work for `kind`. Where this fails, the reaper says it later."""
        try:
            await asyncio.to_thread(self._app.send_task, TASK, queue=keys.train_queue(kind), retry=False)
        except Exception as error:  # kombu's tree has no root of its own
            log.warning("no hint was published for %s (%s); the reaper will", kind, type(error).__name__)
            return False
        return True

    async def missing(self) -> dict[str, int]:
        """By kind, how many queued jobs have no hint."""
        missing = {}
        for kind in keys.KINDS:
            jobs = await self._redis.zcard(keys.queued(kind))
            hints = await self._redis.llen(keys.train_queue(kind))
            missing[kind] = max(0, jobs - hints)
        return missing
