"""Looking at other processes."""

import re

import psutil

TRAINER = re.compile(r"(workers|gated)\.trainer")


def started_by(pid: int) -> list[int]:
    """All that descends from `pid`."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def arguments(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return ""


def child_of_this_test(module: str, port: int) -> psutil.Process:
    """The process of `module` that serves `port`, among those that this one started."""
    return next(
        child
        for child in psutil.Process().children(recursive=True)
        if module in arguments(child.pid) and child.environ().get("HEADWAY_PORT") == str(port)
    )


def trainers_of(pid: int) -> list[int]:
    """What a zygote forks has its arguments."""
    return [child for child in started_by(pid) if TRAINER.search(arguments(child)) and not _is_zygote(child)]


def _is_zygote(pid: int) -> bool:
    try:
        return "zygote" in arguments(pid) and "zygote" not in arguments(psutil.Process(pid).ppid())
    except psutil.NoSuchProcess:
        return False
