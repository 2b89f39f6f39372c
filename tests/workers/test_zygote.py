"""The zygote: what it forks is as clean as what is started anew, tells how it ended, and ends with who asked."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from services.settings import Settings
from tests.processes import alive, started_by
from tests.waiting import wait_until
from workers.zygote import GPU_DRIVERS, Process, Starter, discard

TRAINER = ("workers.trainer", "--tethered", "--lean")  # it waits for a spec


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADWAY_API_KEY", "hw-secret")
        started = Starter(forks=True)
    yield started
    started.close()


@pytest.fixture
def forked(starter: Starter) -> Iterator[Process]:
    process = starter(*TRAINER)
    yield process
    discard(process)


def parent(process: Process) -> psutil.Process:
    found = psutil.Process(process.pid).parent()
    assert found is not None
    return found


def test_what_computes_nothing_has_one_thread_and_torch(forked: Process) -> None:
    zygote = parent(forked)
    assert "workers.trainer.zygote" in zygote.cmdline()
    assert zygote.num_threads() == 1, "only the thread that forks is in the fork"
    assert any("libtorch_cpu" in mapped.path for mapped in zygote.memory_maps())


def test_a_fork_knows_no_secret_and_holds_no_others_pipes(starter: Starter, forked: Process) -> None:
    assert "HEADWAY_API_KEY" not in psutil.Process(forked.pid).environ()
    second = starter(*TRAINER)
    assert forked.stdin is not None
    forked.stdin.close()
    assert forked.wait(20) == 0  # it sees the end of its stdin, though another was forked since
    discard(second)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_it_is_told_how_a_fork_ended(starter: Starter, signum: signal.Signals) -> None:
    forked = starter("json.tool")  # it waits for what to read, and heeds no signal
    wait_until(lambda: not ignores(forked.pid, signum))
    assert forked.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        forked.wait(0.01)
    os.kill(forked.pid, signum)
    assert forked.wait(20) == -signum
    forked.terminate()  # nobody's process is hit by it
    assert forked.poll() == -signum
    discard(forked)


def ignores(pid: int, signum: signal.Signals) -> bool:
    """As the zygote does, and so does a fork in its first moment."""
    (mask,) = re.findall(r"SigIgn:\t(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(mask, 16) & 1 << signum - 1)


def test_output_and_exit_status_are_the_modules(starter: Starter) -> None:
    process = starter("json.tool", "--help")
    assert process.stdout is not None
    assert b"json" in process.stdout.read()
    assert process.wait(20) == 0
    discard(process)
    failed = starter("json.tool", "/no/such/file")
    assert failed.wait(20) != 0
    discard(failed)


@pytest.mark.slow
def test_when_the_zygote_is_killed_its_fork_is_ended_and_the_next_is_started_anew() -> None:
    with closing(Starter(forks=True)) as start:
        first = start(*TRAINER)
        parent(first).kill()
        assert first.wait(20) == -signal.SIGKILL
        wait_until(lambda: not alive(first.pid), seconds=20)
        second = start(*TRAINER)
        assert "zygote" not in " ".join(psutil.Process(second.pid).cmdline())
        third = start(*TRAINER)  # of a new zygote
        assert "workers.trainer.zygote" in parent(third).cmdline()
        for process in (first, second, third):
            discard(process)


def test_all_ends_with_who_asked_however_that_ends() -> None:
    code = (
        "import sys; from workers.zygote import Starter\n"
        f"print(Starter(forks=True)(*{TRAINER!r}).pid, flush=True); sys.stdin.read()"
    )
    asker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert asker.stdout is not None
    asker.stdout.readline()
    pids = started_by(asker.pid)
    assert len(pids) == 2
    asker.kill()
    asker.communicate()
    wait_until(lambda: not any(map(alive, pids)), seconds=20)


def test_there_is_none_beside_a_gpu_or_without_memory_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bool] = []
    monkeypatch.setattr(Starter, "__init__", lambda self, *, forks, patience: made.append(forks))

    def here(device: str = "auto", memory: int = 1) -> None:
        Starter.here(Settings(device=device, spare_memory=memory))

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    here()
    here(memory=0)
    monkeypatch.setattr(os.path, "exists", lambda path: path == GPU_DRIVERS[0])
    here()
    here(device="cpu")
    monkeypatch.setattr(sys, "platform", "darwin")
    here(device="cpu")
    assert made == [True, False, False, True, False]


@pytest.mark.slow
def test_a_zygote_that_hangs_holds_nobody_up_and_ends_with_its_worker() -> None:
    with closing(Starter(forks=True, patience=20.0)) as start:
        first = start(*TRAINER)
        zygote = parent(first)
        zygote.suspend()
        start._zygote._patience = 0.5  # type: ignore[union-attr]
        second = start(*TRAINER)
        assert "zygote" not in " ".join(psutil.Process(second.pid).cmdline())
        wait_until(lambda: not alive(zygote.pid), seconds=20)
        wait_until(lambda: not alive(first.pid), seconds=20)
        discard(first)
        discard(second)


def test_a_term_to_all_leaves_the_zygote_to_its_worker(starter: Starter, forked: Process) -> None:
    """As systemd ends a control group: a trainer has its checkpoint to write."""
    zygote = parent(forked)
    zygote.terminate()
    second = starter(*TRAINER)
    assert second.poll() is None
    discard(second)
    assert alive(forked.pid)
    assert alive(zygote.pid)
