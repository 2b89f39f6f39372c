"""The first classifier of a new user: handwritten digits, from a zip of PNG files to a model."""

from pathlib import Path
from typing import Any

from rich.console import Console

from services.client.api import Headway
from services.client.progress import watch

DIGITS = Path(__file__).with_name("sample") / "digits.zip"
RANDOM = "random:0"


def run_sample(api: Headway, console: Console) -> dict[str, Any]:
    """The sample's job as it ended. Where the pretrained weights cannot be had, says so aloud and submits again."""
    console.print("\n[bold]A first classifier[/]: handwritten digits, 10 labels", highlight=False)
    with DIGITS.open("rb") as content:
        file = api.upload(DIGITS.name, content)
    labels = file["contents"]["labels"]["train"]
    console.print(f"  uploaded {file['filename']}: {sum(labels.values())} images, {len(labels)} labels", style="dim")
    job = _submit(api, file["id"], console)
    if job["status"] == "failed" and (job["error"] or {}).get("code") == "weights_unavailable":
        console.print(
            "\n[yellow bold]The pretrained ImageNet weights cannot be had here.[/] Trying again with a [bold]random[/] "
            f'backbone ("weights": "{RANDOM}"): good for this sample, not for your images.',
            highlight=False,
        )
        job = _submit(api, file["id"], console, weights=RANDOM)
    return job


def _submit(api: Headway, file: str, console: Console, **more: str) -> dict[str, Any]:
    body = {"training_file": file, "feature_scaling": "standard", "suffix": "digits", **more}
    job = api.submit(body)
    console.print(f"  submitted {job['id']}", style="dim", highlight=False)
    return watch(api, job["id"], console)


def tell_result(job: dict[str, Any], url: str, files: str, console: Console) -> None:
    """Where the model lies, and how to do the same with one's own images."""
    if job["weights"].startswith("random:"):
        console.print(f"  backbone: {job['weights']} (not pretrained)", highlight=False)
    console.print(f"  model     {job['fine_tuned_model']}", highlight=False)
    console.print(f"  lies in   {files}/{job['organization_id']}/models/{job['id']}", highlight=False, soft_wrap=True)
    console.print(
        f"""
[bold]Now your own images[/]: drop them on [bold]{url}[/], or send a zip with a folder of images for each label:

  curl -s {url}/v1/files -F purpose=fine-tune -F file=@my-images.zip
  curl -s {url}/v1/fine_tuning/jobs -H 'Content-Type: application/json' \\
       -d '{{"training_file": "file-…", "learning_rate": 0.01, "momentum": 0.9}}'
  curl -sN '{url}/v1/fine_tuning/jobs/ftjob-…/events?stream=true'
  curl -s {url}/v1/predictions -F model={job["fine_tuned_model"]} -F image=@photo.jpg

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="none")
  file = client.files.create(file=open("my-images.zip", "rb"), purpose="fine-tune")
  job = client.fine_tuning.jobs.create(model="resnet18", training_file=file.id)
""",
        highlight=False,
        markup=True,
        soft_wrap=True,
    )
