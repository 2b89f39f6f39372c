"""What happens to containers at night. Each job ends once, on its curve, whatever was done to where it ran."""

from collections.abc import Iterator
from contextlib import contextmanager

import openai
import pytest
from docker.models.containers import Container

from tests.chaos.conftest import Holds, Submit
from tests.chaos.verdict import reasons
from tests.containers.project import Project
from tests.drawing import shapes, zipped
from tests.jobs import Upload, ended, look, submitted
from tests.waiting import wait_until

LEASE = 30  # seconds until a silent owner's job is another's


def test_the_openai_client_trains_in_the_compose_stack(project: Project) -> None:
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{project.port}/v1", api_key="none")
    file = client.files.create(file=("shapes.zip", zipped(shapes(8))), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="resnet18", training_file=file.id)
    wait_until(lambda: client.fine_tuning.jobs.retrieve(job.id).status == "succeeded", seconds=90)
    assert client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model


def test_a_worker_container_that_is_killed_is_replaced_and_the_job_goes_on(
    project: Project, submit: Submit, holds: Holds
) -> None:
    job = submit()
    project.worker_of(job).kill()
    told = holds(job)
    assert told.job["status"] == "succeeded"
    assert reasons(told)[0] == "worker_lost"


@pytest.mark.nightly
def test_a_stack_that_is_stopped_in_the_middle_of_a_job_goes_on_when_it_is_started_again(
    project: Project, submit: Submit, holds: Holds
) -> None:
    project.compose("stop", "autoscaler")  # which compose would stop before the worker
    job = submit()
    project.compose("stop")
    assert project.containers(all=False) == []
    ends = {c.labels["com.docker.compose.service"]: c.attrs["State"]["ExitCode"] for c in project.containers()}
    assert ends.pop("api") == 143  # uvicorn ends by the signal that it was sent, once all is closed
    assert set(ends.values()) == {0}, ends
    project.compose("start")
    told = holds(job)
    assert told.job["status"] == "succeeded"
    assert reasons(told) == ["released", "succeeded"]


@pytest.mark.nightly
def test_a_worker_that_is_cut_off_its_network_writes_no_more_and_works_again_when_it_is_back(
    project: Project, submit: Submit, holds: Holds
) -> None:
    job = submit()
    worker = project.worker_of(job)
    network = project.docker.networks.get(f"{project.name}_default")
    network.disconnect(worker)
    wait_until(lambda: look(project.client, job)["attempt"] == 2, seconds=LEASE + 150)
    network.connect(worker)
    # Soon, as the autoscaler started another: it drains the one that it can spare.
    wait_until(lambda: worker.short_id in {found["host"] for found in project.workers()}, seconds=60)
    told = holds(job)
    assert told.job["status"] == "succeeded"
    assert reasons(told)[0] == "worker_lost"


@pytest.mark.nightly
def test_a_redis_that_is_restarted_costs_a_job_nothing(project: Project, submit: Submit, holds: Holds) -> None:
    job = submit()
    project.compose("restart", "redis")
    told = holds(job)
    assert told.job["status"] == "succeeded"
    assert reasons(told) == ["succeeded"]


@pytest.mark.nightly
def test_a_trainer_that_its_memory_limit_kills_is_counted_and_said_and_the_stack_stays_well(
    project: Project, upload: Upload
) -> None:
    with small_memory(project):
        job = submitted(project.client, upload, shapes(4), n_epochs=2)
        found = ended(project.client, job)
        assert found["status"] == "failed"
        assert found["error"]["code"] == "out_of_memory"
        assert [attempt["reason"] for attempt in found["attempts"]] == ["out_of_memory"] * 3
        assert project.ready_workers()
    job = submitted(project.client, upload, shapes(4), n_epochs=2)
    assert ended(project.client, job)["status"] == "succeeded"


@contextmanager
def small_memory(project: Project) -> Iterator[None]:
    """Each worker may have what it needs while it is idle, and some more: no trainer fits."""
    workers = project.containers("worker", all=False)
    for worker in workers:
        limit = resident(worker) + (100 << 20)
        worker.update(mem_limit=limit, memswap_limit=limit)
    yield
    for worker in workers:
        worker.update(mem_limit="4g", memswap_limit="4g")


def resident(container: Container) -> int:
    """Bytes, of all its processes."""
    _, said = container.exec_run(["sh", "-c", "cat /proc/[0-9]*/status"])
    return sum(int(line.split()[1]) * 1024 for line in said.decode().splitlines() if line.startswith("VmRSS"))


@pytest.mark.nightly
def test_a_data_volume_that_is_full_fails_the_job_by_name_and_the_next_one_is_well_once_there_is_room(
    project: Project, upload: Upload
) -> None:
    worker = project.containers("worker", all=False)[0]
    worker.exec_run(["sh", "-c", "cat /dev/zero > /data/fill"])
    job = submitted(project.client, upload, shapes(5, first=500), n_epochs=2)
    found = ended(project.client, job)
    worker.exec_run(["rm", "/data/fill"])
    assert found["status"] == "failed"
    assert found["error"]["code"] == "disk_full"
    job = submitted(project.client, upload, shapes(5, first=600), n_epochs=2)
    assert ended(project.client, job)["status"] == "succeeded"


@pytest.mark.nightly
def test_a_worker_of_the_next_version_takes_over_from_the_old_one(
    project: Project, submit: Submit, holds: Holds
) -> None:
    project.compose("stop", "autoscaler")  # it would drain what we add
    wait_until(lambda: len(project.workers()) == len(project.ready_workers()))  # and nobody is leaving
    old = {worker["id"] for worker in project.workers()}
    next_version(project)
    more = ("tests/containers/next-version.yml",)
    scale = f"worker={len(project.containers('worker')) + 1}"
    project.compose("up", "--detach", "--no-recreate", "--no-deps", "--scale", scale, "worker", files=more)
    job = submit()
    wait_until(lambda: len(project.workers()) > len(old), seconds=120)
    assert {worker["version"] for worker in project.workers()} == {"0.1.0", "0.1.1"}
    for worker in old:
        assert project.client.post(f"/v1/workers/{worker}/drain").status_code == 200
    told = holds(job)
    assert told.job["status"] == "succeeded"
    wait_until(lambda: {w["version"] for w in project.workers()} == {"0.1.1"}, seconds=120)


def next_version(project: Project) -> None:
    """The worker's image, as a later version's build would leave it."""
    bump = "sed -i 's/0.1.0/0.1.1/' /opt/headway/lib/python3*/site-packages/services/__init__.py"
    made = project.docker.containers.create("headway-worker", ["sh", "-c", bump], user="root")
    try:
        made.start()
        assert made.wait()["StatusCode"] == 0
        config = project.docker.images.get("headway-worker").attrs["Config"]
        changes = [f"USER {config['User']}", f'CMD ["{config["Cmd"][0]}", "-m", "workers.main"]']
        made.commit("headway-worker", "next", changes=changes)
    finally:
        made.remove()
