"""Workers as containers of a compose project, made by Docker's API.

A container is copied from one that compose made for the same service, labels and all, so that `docker compose` sees
it: `ps`, `logs`, `stop` and `down` take it for compose's own. A service says by its label `headway.device` which kind
of worker it is. Compose's own containers are stopped and started, never removed: they are what is copied.
"""

import logging
from contextlib import suppress
from datetime import UTC, datetime
from math import ceil
from threading import Thread
from typing import Any

import docker
from docker.errors import APIError, DockerException
from docker.models.containers import Container

from services.autoscaler.providers import Condition, ProviderError, WorkerInstance
from services.contract.timing import Timing

log = logging.getLogger("headway.autoscaler")

DEVICE = "headway.device"
COPY = "headway.copy"  # the label of those that we made and may remove
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
NUMBER, ONEOFF = "com.docker.compose.container-number", "com.docker.compose.oneoff"
OF_ONE = ("Hostname", "Domainname", "MacAddress")  # what a copy must not share with its original


class Containers:
    name = "compose"

    def __init__(self, project: str, timing: Timing) -> None:
        self._project, self._timing = project, timing
        try:
            self._docker = docker.from_env(timeout=ceil(timing.docker))
            self._docker.ping()
        except (DockerException, OSError) as error:
            log.warning("Docker: %s", error)
            raise ProviderError("Docker cannot be reached: mount /var/run/docker.sock, or set DOCKER_HOST.") from None
        self._ends: dict[str, str] = {}  # by container, the last end of it that was told
        self._began = datetime.now(UTC).isoformat()

    def instances(self) -> list[WorkerInstance]:
        found = []
        for container in self._containers():
            with suppress(APIError, OSError):  # it is being removed while we look
                found += self._look(container)
        return found

    def start(self, kind: str) -> str:
        """A stopped one of compose's own, if there is one; else a copy."""
        own = [container for container in self._containers(kind) if COPY not in container.labels]
        if not own:
            raise ProviderError(
                f"Project {self._project} has no container of a service labelled {DEVICE}={kind} to copy: "
                "bring it up once with `docker compose up -d --scale worker=1`."
            )
        try:
            stopped = next((container for container in own if container.status in ("exited", "created")), None)
            started = stopped or self._copy(own[0])
            started.start()
            return str(started.short_id)
        except (APIError, OSError) as error:
            log.warning("Docker: %s", error)
            raise ProviderError("Docker did not start a worker; the autoscaler's log says why.") from None

    def stop(self, id: str) -> None:
        Thread(target=self._stop, args=[id], daemon=True).start()

    def close(self) -> None:
        """The workers stay: another autoscaler finds them."""
        self._docker.close()

    def _containers(self, kind: str | None = None) -> list[Container]:
        labels = [f"{PROJECT}={self._project}", f"{ONEOFF}=False", f"{DEVICE}={kind}" if kind else DEVICE]
        try:
            return list(self._docker.containers.list(all=True, filters={"label": labels}, ignore_removed=True))
        except (APIError, OSError) as error:
            log.warning("Docker: %s", error)
            raise ProviderError("Docker does not answer; the autoscaler's log says more.") from None

    def _stop(self, id: str) -> None:
        with suppress(APIError, OSError):  # the next look tells
            self._docker.containers.get(id).stop(timeout=ceil(self._timing.container_stop))

    def _look(self, container: Container) -> list[WorkerInstance]:
        """Nothing for one that never ran, or whose end was told."""
        state = container.attrs["State"]
        condition = _condition(container)
        if condition in (Condition.ENDED, Condition.DIED):
            if COPY in container.labels:
                _remove(container, condition)
            if self._ends.get(container.id, self._began) >= state["FinishedAt"]:
                return []
            self._ends[container.id] = state["FinishedAt"]
        return [WorkerInstance(container.short_id, container.labels[DEVICE], condition, container.short_id)]

    def _copy(self, original: Container) -> Container:
        attrs = original.attrs
        service = original.labels[SERVICE]
        taken = {int(c.labels[NUMBER]) for c in self._containers() if c.labels[SERVICE] == service}
        number = next(number for number in range(1, len(taken) + 2) if number not in taken)
        config: dict[str, Any] = {name: value for name, value in attrs["Config"].items() if name not in OF_ONE}
        config["Labels"] = attrs["Config"]["Labels"] | {NUMBER: str(number), COPY: "true"}
        config["HostConfig"] = attrs["HostConfig"]
        networks = attrs["NetworkSettings"]["Networks"]
        config["NetworkingConfig"] = {"EndpointsConfig": {name: {"Aliases": [service]} for name in networks}}
        made = self._docker.api.create_container_from_config(config, name=f"{self._project}-{service}-{number}")
        return self._docker.containers.get(made["Id"])


def _condition(container: Container) -> Condition:
    status, code = container.attrs["State"]["Status"], container.attrs["State"]["ExitCode"]
    if status in ("running", "paused"):
        return Condition.RUNNING
    if status == "restarting":
        return Condition.FAILING
    return Condition.DIED if code else Condition.ENDED


def _remove(container: Container, condition: Condition) -> None:
    """Its log goes with it: what one that died said last is kept in ours."""
    if condition is Condition.DIED:
        log.warning("%s died; it said last:\n%s", container.name, container.logs(tail=15).decode(errors="replace"))
    container.remove()
