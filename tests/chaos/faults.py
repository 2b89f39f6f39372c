"""What the soak does to its house: each fault, and how often it is drawn."""

import contextlib
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx

from services.store import keys
from tests.chaos import hostile
from tests.chaos.house import Part
from tests.chaos.line import Mode
from tests.jobs import JOBS

if TYPE_CHECKING:
    from tests.chaos.soak import Soak


def _kill(soak: "Soak", part: Part, seconds: float) -> bool:
    part.kill()
    return soak.later(seconds, part.name, part.start)


def _worker_killed(soak: "Soak") -> bool:
    return _kill(soak, soak.part(*soak.house.workers), soak.between(0, 6))


def _trainer_killed(soak: "Soak") -> bool:
    os.kill(soak.random.choice(soak.house.trainers()), signal.SIGKILL)
    return True


def _trainer_stopped(soak: "Soak") -> bool:
    trainer = soak.random.choice(soak.house.trainers())
    os.kill(trainer, signal.SIGSTOP)

    def go_on() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(trainer, signal.SIGCONT)

    return soak.later(soak.between(1, 12), f"trainer {trainer}", go_on)


def _worker_drained(soak: "Soak") -> bool:
    soak.part(*soak.house.workers).send(signal.SIGTERM)
    return True


def _worker_drained_by_the_api(soak: "Soak") -> bool:
    workers = soak.house.client.get("/v1/workers").raise_for_status().json()["data"]
    soak.house.client.post(f"/v1/workers/{soak.random.choice(workers)['id']}/drain").raise_for_status()
    return True


def _stopped(soak: "Soak", part: Part, seconds: float) -> bool:
    part.send(signal.SIGSTOP)
    return soak.later(seconds, part.name, lambda: part.send(signal.SIGCONT))


def _worker_stopped(soak: "Soak") -> bool:
    return _stopped(soak, soak.part(*soak.house.workers), soak.between(1, 50))


def _store_stopped(soak: "Soak") -> bool:
    return _stopped(soak, soak.part(soak.house.store), soak.between(1, 8))


def _api_killed(soak: "Soak") -> bool:
    return _kill(soak, soak.part(soak.house.api), soak.between(0, 4))


def _api_ended(soak: "Soak") -> bool:
    api = soak.part(soak.house.api)
    api.send(signal.SIGTERM)
    api.wait()
    return soak.later(soak.between(0, 4), api.name, api.start)


def _reaper_killed(soak: "Soak") -> bool:
    return _kill(soak, soak.part(soak.house.reaper), soak.between(0, 20))


def _store_killed(least: float, most: float) -> Callable[["Soak"], bool]:
    def kill(soak: "Soak") -> bool:
        store = soak.part(soak.house.store)
        soak.store_kills.append(time.time())
        return _kill(soak, store, soak.between(least, most))

    return kill


def _store_restarted(soak: "Soak") -> bool:
    store = soak.part(soak.house.store)
    store.send(signal.SIGTERM)
    store.wait()
    return soak.later(soak.between(0, 3), store.name, store.start)


def _line_cut(how: Mode, most: float) -> Callable[["Soak"], bool]:
    def cut(soak: "Soak") -> bool:
        name = soak.random.choice(list(soak.house.lines))
        if soak.is_busy(f"line of {name}"):
            return False
        line = soak.house.lines[name]
        line.cut(how)
        return soak.later(soak.between(1, most), f"line of {name}", line.mend)

    return cut


def _redis_full(soak: "Soak") -> bool:
    soak.house.redis.config_set("maxmemory", "1mb")
    return soak.later(soak.between(2, 15), "memory", lambda: _make_room(soak))


def _make_room(soak: "Soak") -> None:
    soak.house.redis.config_set("maxmemory", 0)


def _hints_lost(soak: "Soak") -> bool:
    return bool(soak.house.redis.delete(keys.train_queue("any"), keys.train_queue("cpu")))


def _hints_doubled(soak: "Soak") -> bool:
    hint = soak.house.redis.lindex(keys.train_queue("any"), 0)
    return bool(hint and soak.house.redis.lpush(keys.train_queue("any"), hint, hint))


def _garbage_among_the_hints(soak: "Soak") -> bool:
    garbage = soak.random.choice([b"", b"garbage", b"\xff", b"null", b"[]", b'{"headers": {"task": "theirs"}}'])
    return bool(soak.house.redis.lpush(keys.train_queue("any"), *[garbage] * 3))


def _redis_read_only(soak: "Soak") -> bool:
    """As an old primary after a failover."""
    if soak.is_busy(soak.house.store.name):
        return False
    soak.house.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    back = lambda: soak.house.redis.execute_command("REPLICAOF", "NO", "ONE")  # noqa: E731
    return soak.later(soak.between(1, 20), soak.house.store.name, back)


def _silent_connections(soak: "Soak") -> bool:
    where = soak.house.client.base_url
    silent = contextlib.ExitStack()
    for _ in range(300):
        silent.enter_context(socket.create_connection((where.host, where.port or 0), timeout=10))
    return soak.later(soak.between(1, 30), "silent connections", silent.close)


def _hostile_upload(soak: "Soak") -> bool:
    """What comes of it is looked at when it comes: a refusal, and no trouble for the others."""
    name = soak.random.choice(list(hostile.ARCHIVES))

    def upload() -> None:
        with contextlib.suppress(httpx.TransportError):  # the API may be killed meanwhile
            file = {"file": ("photos.zip", hostile.ARCHIVES[name]())}
            answer = soak.house.client.post("/v1/files", data={"purpose": "fine-tune"}, files=file, timeout=120)
            if answer.status_code not in (422, 429, 503, 507):
                soak.found.append(f"an upload of {name} was answered with {answer.status_code}: {answer.text[:200]}")

    threading.Thread(target=upload, daemon=True).start()
    return True


def _record_spoiled(soak: "Soak") -> bool:
    """As by another version, which is rolled back after a while."""
    key = keys.job(soak.random.choice(soak.disturbed[-8:]).id)
    spec = soak.house.redis.hget(key, "spec")
    if not spec or soak.is_busy(key):
        return False
    soak.house.redis.hset(key, "spec", '{"model": "of another version"}')

    def back() -> None:
        if soak.house.redis.exists(key):
            soak.house.redis.hset(key, "spec", spec)

    return soak.later(soak.between(1, 20), key, back)


def _clock_jumped(soak: "Soak") -> bool:
    """Of the machine that Redis runs on."""
    if soak.house.clock is None or soak.is_busy("clock"):
        return False
    clock = soak.house.clock
    clock.jump(round(soak.between(-7200, 7200)))
    return soak.later(soak.between(2, 20), "clock", lambda: clock.jump(0))


def _cache_deleted(soak: "Soak") -> bool:
    shutil.rmtree(soak.house.settings.features_dir)
    return True


def _checkpoint_cut(soak: "Soak") -> bool:
    job = soak.random.choice(soak.house.redis.zrange("headway:jobs:running", 0, -1))
    index = soak.house.redis.zrange(f"headway:job:{job}:checkpoints", -1, -1, withscores=True)
    return bool(
        int(index[0][1]) > 0
        and soak.house.redis.setrange(f"headway:job:{job}:checkpoint:{int(index[0][1])}", 100, "cut")
    )


def _wished(action: str) -> Callable[["Soak"], bool]:
    def wish(soak: "Soak") -> bool:
        ids = [submission.id for submission in soak.disturbed[-8:]]
        answer = soak.house.client.post(f"{JOBS}/{soak.random.choice(ids)}/{action}")
        return answer.status_code == 200

    return wish


FAULTS: dict[str, tuple[int, Callable[["Soak"], bool]]] = {
    "worker killed": (6, _worker_killed),
    "trainer killed": (5, _trainer_killed),
    "trainer stopped": (3, _trainer_stopped),
    "worker drained": (4, _worker_drained),
    "worker drained by the API": (2, _worker_drained_by_the_api),
    "worker stopped": (4, _worker_stopped),
    "API killed": (3, _api_killed),
    "API ended": (2, _api_ended),
    "reaper killed": (2, _reaper_killed),
    "Valkey killed": (2, _store_killed(0, 8)),
    "Valkey restarted": (2, _store_restarted),
    "Valkey gone for 30 to 50 s": (1, _store_killed(30, 50)),
    "Valkey stopped": (2, _store_stopped),
    "line swallowed": (4, _line_cut(Mode.SWALLOWED, 45)),
    "answers lost": (4, _line_cut(Mode.DEAF, 8)),
    "line refused": (2, _line_cut(Mode.REFUSED, 15)),
    "Redis full": (3, _redis_full),
    "hints lost": (3, _hints_lost),
    "hints doubled": (2, _hints_doubled),
    "garbage among the hints": (3, _garbage_among_the_hints),
    "Redis read-only": (3, _redis_read_only),
    "silent connections": (2, _silent_connections),
    "hostile upload": (3, _hostile_upload),
    "record spoiled": (3, _record_spoiled),
    "clock jumped": (2, _clock_jumped),
    "feature cache deleted": (1, _cache_deleted),
    "checkpoint cut": (3, _checkpoint_cut),
    "cancel": (2, _wished("cancel")),
    "pause": (4, _wished("pause")),
    "resume": (6, _wished("resume")),
}
