"""The other commands: keys, preflight, training from a folder."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.client.stack import Stack
from services.keysfile import read_keys
from tests.drawing import shapes

HEADWAY = [sys.executable, "-m", "services.client.main"]


def headway(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    env = os.environ | {"COLUMNS": "200"} | environment
    return subprocess.run([*HEADWAY, *arguments], env=env, capture_output=True, text=True, timeout=180, check=False)


def test_a_new_key_is_printed_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    done = headway("keys", "new", "--tenant", "ann", HEADWAY_API_KEYS_FILE=str(file))
    key = done.stdout.strip()
    assert key.startswith("hw-")
    assert key not in file.read_text()
    assert [known.tenant for known in read_keys(file)] == ["ann"]


@pytest.mark.parametrize("tenant", ["", "Ann", "../x", "a b"])
def test_a_tenant_that_cannot_be_a_folder_is_refused(tmp_path: Path, tenant: str) -> None:
    done = headway("keys", "new", "--tenant", tenant, "--file", str(tmp_path / "keys"))
    assert done.returncode == 1
    assert "tenant name" in done.stderr


@pytest.mark.slow
def test_preflight_is_a_table_of_its_checks() -> None:
    done = headway("preflight", "--device", "cpu")
    assert done.returncode == 0
    for word in ("cpu", "autograd identities", "whole network step", "frozen means frozen", "agrees with cpu", "ok"):
        assert word in done.stdout


@pytest.mark.nightly
def test_preflight_fails_on_a_device_that_is_not_there() -> None:
    done = headway("preflight", "--device", "cuda:7")
    assert done.returncode == 1
    assert "failed" in done.stdout


def folder_of(files: dict[str, bytes], folder: Path) -> Path:
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


@pytest.mark.slow
def test_a_folder_is_trained_on_the_model_saved_asked_and_trained_again(tmp_path: Path, the_stack: Stack) -> None:
    folder_of(shapes(6), tmp_path / "data")
    out = tmp_path / "model.pt"
    options = ["--n-epochs", "5", "--feature-scaling", "standard", "--out", str(out), "--url", the_stack.url]
    done = headway("train", str(tmp_path / "data"), *options)
    assert done.returncode == 0, done.stderr
    assert "is ready: accuracy" in done.stdout
    assert "held-out images; by chance 0.500, by the largest label 0.500" in done.stdout
    assert out.stat().st_size > 40_000_000
    assert json.loads(out.with_suffix(".json").read_text())["labels"] == ["circle", "square"]
    model = done.stdout.rpartition("headway predict ")[2].split()[0]
    at = {"HEADWAY_URL": the_stack.url}
    listed = headway("jobs", **at)
    assert "succeeded" in listed.stdout
    assert model in headway("models", **at).stdout
    asked_again(model, tmp_path, at)
    replayed = headway("replay", f"ftjob-{model.rpartition(':')[2]}", **at)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert "the same curve: over 5 steps" in replayed.stdout


def asked_again(model: str, folder: Path, at: dict[str, str]) -> None:
    """What is predicted for known pictures, right, wrong and unreadable ones."""
    known = folder_of(shapes(6) | {"circle/bad.png": b"no picture"}, folder / "known")
    (known / "circle" / "000.png").rename(known / "square" / "a circle.png")
    asked = headway("predict", model, str(known), "--csv", str(folder / "all.csv"), "--top-k", "2", **at)
    assert asked.returncode == 0, asked.stderr
    assert "bad.png  cannot be read: no image format that is known" in asked.stdout
    assert "of 12 pictures are right" in asked.stdout
    assert "a circle.png: square is taken for circle" in asked.stdout
    rows = list(csv.DictReader((folder / "all.csv").read_text().splitlines()))
    assert len(rows) == 13
    assert {row["folder"] for row in rows} == {"circle", "square"}
    assert sum(bool(row["error"]) for row in rows) == 1
    alone = headway("predict", model, str(known / "square" / "001.png"), "--json", **at)
    assert json.loads(alone.stdout)["labels"][0]["label"] == "square"
    assert headway("predict", model, str(known / "circle" / "bad.png"), **at).returncode == 1
    assert "There is no model" in headway("predict", "ft:resnet18::x", str(known), **at).stderr


def test_a_service_that_is_not_there_is_said_in_a_sentence() -> None:
    done = headway("jobs", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr


def test_a_refusal_of_the_service_is_said_as_it_said_it(tmp_path: Path, the_stack: Stack) -> None:
    (tmp_path / "a.zip").write_bytes(b"nothing")
    done = headway("train", str(tmp_path / "a.zip"), "--url", the_stack.url)
    assert done.returncode == 1
    assert "not a zip, tar or tar.gz" in done.stderr


def test_a_sweep_ends_with_a_table_of_its_trials(tmp_path: Path, the_stack: Stack) -> None:
    for path, content in shapes(6).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    sweep = ("--sweep", "learning-rate=0.001,0.01", "--sweep", "batch_size=4,8")
    done = headway("train", str(tmp_path), *sweep, "--n-epochs", "3", HEADWAY_URL=the_stack.url)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if "done" in line and "│" in line]
    assert len(rows) == 4
    assert "leads" in done.stdout
    refused = headway("train", str(tmp_path), "--sweep", "learning_rate=fast", HEADWAY_URL=the_stack.url)
    assert refused.returncode == 1
    assert "learning_rate=fast: give numbers" in refused.stderr
