"""The compose project under test, brought up by `docker compose` as a user would."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import httpx
from docker.models.containers import Container

from tests.conftest import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
NOTHING: Mapping[str, str] = {}
WITHIN = 120.0  # seconds for a worker to be there: a container, then the preflight


def cooldown(seconds: float) -> dict[str, str]:
    """The settings that make it the autoscaler's, of every worker."""
    return {f"HEADWAY_AUTOSCALE_{name}": str(seconds) for name in ("COOLDOWN", "LAST_COOLDOWN")}


class Project:
    """`files` are compose files beside the two that all share."""

    def __init__(self, name: str, files: Sequence[str], settings: Mapping[str, str]) -> None:
        self.name, self.files = name, files
        self.docker = docker.from_env()
        self.port = free_port()
        self.settings = {
            "HEADWAY_PORT": str(self.port),
            "HEADWAY_WEIGHTS": "random:0",
            "PROMETHEUS_IMAGE": "prom/prometheus:latest",  # whichever is here
            "HEADWAY_AUTOSCALE": "cpu=0-3",
            **cooldown(3600),  # it drains nobody that a test has use for
            "HEADWAY_SPARE_MEMORY": "0",  # a memory limit must hit the trainer, and seconds are few here
            **settings,
        }
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)

    @classmethod
    @contextmanager
    def up(
        cls, name: str, *files: str, start: bool = True, settings: Mapping[str, str] = NOTHING
    ) -> Iterator["Project"]:
        """Built, ready unless it shall not start; and gone with its volumes."""
        project = cls(name, files, settings)
        try:
            project.compose("build")
            if start:
                project.compose("up", "--detach", "--wait")
            yield project
        finally:
            project.compose("down", "--volumes", "--timeout", "20", settings={"COMPOSE_PROFILES": "metrics"})
            project.client.close()
            assert project.containers() == []
            project.docker.close()

    def compose(self, *arguments: str, files: Sequence[str] = (), settings: Mapping[str, str] = NOTHING) -> str:
        """`docker compose`, with the project's settings and `settings`. What it says, if it fails, is shown."""
        common = ("docker-compose.yml", "tests/containers/for-tests.yml")
        own = [f"--file={path}" for path in (*common, *self.files, *files)]
        done = subprocess.run(
            ["docker", "compose", f"--project-name={self.name}", *own, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.settings, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def containers(self, service: str | None = None, *, all: bool = True) -> list[Container]:
        labels = [f"com.docker.compose.project={self.name}"]
        labels += [f"com.docker.compose.service={service}"] if service else []
        return list(self.docker.containers.list(all=all, filters={"label": labels}, ignore_removed=True))

    def one(self, service: str) -> Container:
        [found] = self.containers(service, all=False)
        return found

    def workers(self) -> list[dict[str, Any]]:
        """As they report themselves."""
        try:
            return list(self.client.get("/v1/workers").json()["data"])
        except (httpx.TransportError, KeyError):  # Redis or the API is away
            return []

    def ready_workers(self) -> list[dict[str, Any]]:
        return [worker for worker in self.workers() if worker["status"] != "draining"]

    def container_of(self, worker: dict[str, Any]) -> Container:
        return self.docker.containers.get(worker["host"])

    def worker_of(self, job: str) -> Container:
        """The container that runs `job`."""
        worker = wait_until(lambda: next((found for found in self.workers() if found["job"] == job), None), seconds=20)
        return self.container_of(worker)

    def heal(self) -> None:
        """The stack is up, and at least one worker is ready."""
        # Not what the autoscaler depends on: a worker may be leaving just now, and compose takes that for a failure.
        self.compose("up", "--detach", "--wait", "--no-recreate", "--no-deps", "redis", "api", "reaper", "autoscaler")
        if not self.ready_workers():
            self.compose("up", "--detach", "--no-recreate", "--no-deps", "worker")
        wait_until(self.ready_workers, seconds=WITHIN)

    def autoscaler(self) -> dict[str, Any]:
        return dict(self.client.get("/v1/autoscaler").json())
