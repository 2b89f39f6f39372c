"""Celery's side: hints on a queue a device kind. They carry nothing; the records say what there is to do."""

import asyncio
import logging

from celery import Celery

from services.store import keys
from services.store.connection import SOCKET_TIMEOUT, Redis

log = logging.getLogger(__name__)

TASK = "headway.train"


def celery(store_url: str) -> Celery:
    """The Celery app, as both sides set it: at least once, no results, nothing reserved ahead."""
    app = Celery("headway", broker=_broker_url(store_url), set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        task_store_errors_even_if_ignored=False,
        task_default_queue=keys.train_queue("any"),
        task_create_missing_queues=True,
        worker_pool="threads",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 3600,  # harmless: a second copy finds nothing, or other work
            "socket_timeout": SOCKET_TIMEOUT,
            "socket_connect_timeout": SOCKET_TIMEOUT,
        },
    )
    return app


def _broker_url(store_url: str) -> str:
    """kombu's spelling of a Unix socket."""
    return store_url.replace("unix://", "redis+socket://", 1)


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
