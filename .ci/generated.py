"""A client that openapi-python-client made of the API's schema, used as its user would: it trains, reads a job
and survives a refusal. `python .ci/generated.py FOLDER URL ARCHIVE`; nothing of ours is imported."""

import io
import sys
import time
from pathlib import Path


def main(folder: str, url: str, archive: str) -> None:
    sys.path.insert(0, folder)
    from headway_client import AuthenticatedClient, models, types
    from headway_client.api.files import files_upload
    from headway_client.api.fine_tuning import fine_tuning_create, fine_tuning_job, fine_tuning_jobs

    client = AuthenticatedClient(base_url=url, token="none")
    payload = types.File(payload=io.BytesIO(Path(archive).read_bytes()), file_name="digits.zip")
    body = models.FilesUploadBody(file=payload, purpose=models.FilesUploadBodyPurpose.FINE_TUNE)
    file = files_upload.sync(client=client, body=body)
    assert isinstance(file, models.File), file
    refused = fine_tuning_create.sync(client=client, body=models.CreateJob(training_file=file.id, n_epochs=0))
    assert isinstance(refused, models.Problem), refused
    assert refused.error.param == "n_epochs"
    job = fine_tuning_create.sync(client=client, body=models.CreateJob(training_file=file.id, n_epochs=3))
    assert isinstance(job, models.Job), job
    deadline = time.monotonic() + 300
    while job.status not in ("succeeded", "failed") and time.monotonic() < deadline:
        time.sleep(1)
        job = fine_tuning_job.sync(job.id, client=client)
        assert isinstance(job, models.Job), job
    assert job.status == "succeeded", job.status_reason
    listed = fine_tuning_jobs.sync(client=client)
    assert isinstance(listed, models.PageJob), listed
    assert job.id in [one.id for one in listed.data]
    print(f"the generated client trained {job.fine_tuned_model}")


if __name__ == "__main__":
    main(*sys.argv[1:])
