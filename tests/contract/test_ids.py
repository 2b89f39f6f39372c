import time

from services.contract.ids import (
    ModelName,
    checkpoint_id,
    checkpoint_model_id,
    checkpoint_number,
    is_id,
    model_id,
    model_named,
    new_id,
)


def test_ids_sort_by_the_time_they_were_given() -> None:
    first = new_id("ftjob")
    time.sleep(0.002)
    assert first < new_id("ftjob")


def test_ids_differ() -> None:
    assert len({new_id("file") for _ in range(10_000)}) == 10_000


def test_only_whole_ids_are_ids() -> None:
    assert is_id(new_id("ftjob"), "ftjob")
    assert not is_id(new_id("ftjob"), "file")
    assert not is_id(new_id("ftjob") + ":events", "ftjob")
    assert not is_id(new_id("ftjob") + "\n", "ftjob")


def test_a_checkpoint_is_named_within_its_job_only() -> None:
    job = new_id("ftjob")
    assert checkpoint_number(checkpoint_id(job, 12), job) == 12
    assert checkpoint_number(checkpoint_id(new_id("ftjob"), 12), job) is None
    assert checkpoint_number("ftckpt-x", job) is None


def test_a_model_leads_back_to_its_job() -> None:
    job = new_id("ftjob")
    assert model_named(model_id(job, "cats-and-dogs")) == ModelName(job, "cats-and-dogs", None)
    assert model_named(model_id(job, None)) == ModelName(job, "", None)
    assert model_named(checkpoint_model_id(job, "v1.2", 40)) == ModelName(job, "v1.2", 40)
    for other in (job, "gpt-4o", model_id(job, "a") + "\n", f"{model_id(job, None)}:step-", "ft:resnet18:a:b:c"):
        assert model_named(other) is None
