"""What the images and the containers are, seen from outside."""

import pytest
from docker.models.containers import Container

from tests.containers.project import Project
from tests.drawing import shapes
from tests.jobs import Upload, ended, submitted

SERVICES = ("redis", "api", "reaper", "worker", "predictor", "autoscaler")


def test_the_api_image_is_small_and_has_no_torch(project: Project) -> None:
    image, base = (project.docker.images.get(name) for name in ("headway-api", "python:3.11-slim-bookworm"))
    assert image.attrs["Size"] - base.attrs["Size"] <= 250e6
    status, _ = project.one("api").exec_run(["python3", "-c", "import torch"])
    assert status == 1


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_can_do_no_more_than_it_must(project: Project, service: str) -> None:
    container = running(project, service)
    host = container.attrs["HostConfig"]
    assert host["ReadonlyRootfs"] and host["Memory"] > 0
    assert host["CapDrop"] == ["ALL"] and host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["RestartPolicy"]["Name"] == ("on-failure" if service == "worker" else "unless-stopped")
    assert (container.attrs["Config"]["User"] in ("", "root")) == (service == "autoscaler")  # it holds Docker's socket
    sockets = [mount for mount in container.attrs["Mounts"] if "docker.sock" in mount["Source"]]
    assert bool(sockets) == (service == "autoscaler")


def test_only_the_apis_port_is_published_and_on_this_machine_only(project: Project) -> None:
    published = {
        (container.labels["com.docker.compose.service"], binding["HostIp"])
        for container in project.containers()
        for bindings in container.ports.values()
        for binding in bindings or []
    }
    assert published == {("api", "127.0.0.1")}


def test_a_model_is_asked_through_a_predictor_that_reaches_no_redis(project: Project, upload: Upload) -> None:
    project.heal()
    pictures = shapes(4)
    job = ended(project.client, submitted(project.client, upload, pictures, n_epochs=2))
    body = {"model": job["fine_tuned_model"]}
    answer = project.client.post("/v1/predictions", data=body, files={"image": pictures["circle/000.png"]}, timeout=60)
    assert answer.json()["data"][0]["labels"][0]["label"] in ("circle", "square")
    status, _ = project.one("predictor").exec_run(["python3", "-c", "import socket; socket.gethostbyname('redis')"])
    assert status != 0


def test_redis_wants_its_password(project: Project) -> None:
    _, said = project.one("redis").exec_run(["env", "-u", "REDISCLI_AUTH", "redis-cli", "ping"])
    assert b"NOAUTH" in said
    asked = "REDISCLI_AUTH=$(cat /secrets/redis) redis-cli ping"  # the one that was made
    _, said = project.one("redis").exec_run(["sh", "-c", asked])
    assert said == b"PONG\n"


@pytest.mark.parametrize("name", ["headway-api", "headway-worker"])
def test_no_image_holds_a_password_or_what_the_repository_has_beside_the_code(project: Project, name: str) -> None:
    config = project.docker.images.get(name).attrs["Config"]
    assert config["StopSignal"] == "SIGTERM" and config["Healthcheck"] and config["User"] == "headway"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert not [line for line in config["Env"] if "PASSWORD" in line or "KEY" in line]
    listing = ["sh", "-c", "ls /opt/headway/lib/python3*/site-packages"]
    packages = project.docker.containers.run(name, listing, remove=True)
    assert b"services\n" in packages and b"tests\n" not in packages


def running(project: Project, service: str) -> Container:
    return project.containers(service, all=False)[0]
