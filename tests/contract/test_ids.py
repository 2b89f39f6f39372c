import time

from services.contract.ids import checkpoint_id, checkpoint_number, is_id, job_of_model, model_id, new_id


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
    assert job_of_model(model_id(job, "cats-and-dogs")) == job
    assert job_of_model(model_id(job, None)) == job
