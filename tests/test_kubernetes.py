"""The manifests of infra/k8s: what Kubernetes and KEDA would take, and what holds between them and the code."""

import re
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import kubernetes_validate
import pytest
import yaml

from services.contract.timing import Timing
from services.settings import Settings
from services.store.keys import KINDS

FOLDER = Path(__file__).parents[1] / "infra" / "k8s"
VERSIONS = ["1.31", "1.34", "1.37"]  # of Kubernetes

Manifest = dict[str, Any]
TEXTS: Manifest = {"type": "object", "additionalProperties": {"type": "string"}}

# Of KEDA's ScaledJob what is used here, and nothing else: https://keda.sh/docs/latest/reference/scaledjob-spec/
SCALED_JOB: Manifest = {
    "type": "object",
    "additionalProperties": False,
    "required": ["jobTargetRef", "triggers"],
    "properties": {
        "pollingInterval": {"type": "integer", "minimum": 1},
        "minReplicaCount": {"type": "integer", "minimum": 0},
        "maxReplicaCount": {"type": "integer", "minimum": 1},
        "successfulJobsHistoryLimit": {"type": "integer"},
        "failedJobsHistoryLimit": {"type": "integer"},
        "rollout": {"type": "object", "properties": {"strategy": {"enum": ["default", "gradual"]}}},
        "scalingStrategy": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "strategy": {"enum": ["default", "custom", "accurate", "eager"]},
                "multipleScalersCalculation": {"enum": ["max", "min", "avg", "sum"]},
            },
        },
        "jobTargetRef": {"type": "object"},  # a Job's spec: validated as one
        "triggers": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["type", "metadata"],
                "properties": {"type": {"const": "metrics-api"}, "metadata": TEXTS},
            },
        },
    },
}


def manifests() -> Iterator[Manifest]:
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text())


def native(manifest: Manifest) -> Manifest:
    """A ScaledJob as the Job that KEDA makes of it."""
    if manifest["kind"] != "ScaledJob":
        return manifest
    made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": manifest["metadata"]}
    return made | {"spec": manifest["spec"]["jobTargetRef"]}


def named(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


ALL = list(manifests())
SCALED = [manifest for manifest in ALL if manifest["kind"] == "ScaledJob"]
PODS = {
    named(each): native(each)["spec"]["template"]["spec"] for each in ALL if each["kind"] in ("Deployment", "ScaledJob")
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", [native(each) for each in ALL], ids=map(named, ALL))
def test_kubernetes_takes_each(manifest: Manifest, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_caught() -> None:
    wrong = next(each for each in ALL if named(each) == "Deployment api")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong | {"spec": wrong["spec"] | {"replica": 2}}, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("manifest", SCALED, ids=map(named, SCALED))
def test_keda_takes_its_own(manifest: Manifest) -> None:
    assert manifest["apiVersion"] == "keda.sh/v1alpha1"
    jsonschema.validate(manifest["spec"], SCALED_JOB)


def test_all_files_and_images_are_named() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert set(kustomization["resources"]) == {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    used = {container["image"] for pod in PODS.values() for container in pod["containers"]}
    assert used == {image["name"] for image in kustomization["images"]}


def test_each_setting_is_one() -> None:
    given = {env["name"] for pod in PODS.values() for container in pod["containers"] for env in container["env"]}
    given |= set(next(each for each in ALL if each["kind"] == "ConfigMap")["data"])
    assert given <= {f"HEADWAY_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_each_pod_is_hardened_and_bounded(pod: Manifest) -> None:
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsUser"] == 10001  # the images' user
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        assert "livenessProbe" in container
        written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert {"/tmp", "/data"} <= written


def test_each_has_the_time_that_it_takes_to_stop() -> None:
    timing = Timing()
    least = {
        "Deployment api": 5 + timing.api_stop,
        "Deployment reaper": timing.reaper_stop,
        "Deployment predictor": 5 + timing.prediction,
        "ScaledJob worker-cpu": timing.container_stop,
        "ScaledJob worker-cuda": timing.container_stop,
    }
    assert {name: pod["terminationGracePeriodSeconds"] >= least[name] for name, pod in PODS.items()} == dict.fromkeys(
        least, True
    )


def test_a_predictor_is_told_no_secret() -> None:
    """But of the bucket, where it reads heads."""
    text = (FOLDER / "predictor.yaml").read_text().replace("secretRef: { name: bucket, optional: true }", "")
    assert "secret" not in text.lower().replace("secretkeyref", "secret")
    assert "REDIS" not in text.replace("Redis", "")


def test_the_two_kinds_of_worker_differ_where_they_must() -> None:
    cpu, cuda = ((FOLDER / f"worker-{kind}.yaml").read_text().splitlines() for kind in ("cpu", "cuda"))
    changed = [line[1:].strip() for line in unified_diff(cpu, cuda, n=0) if line.startswith("+") and "+++" not in line]
    assert [line.partition(":")[0] for line in changed if not line.startswith("#")] == [
        "name",
        "scalingStrategy",
        "valueLocation",
        "tolerations",
        "- { name",
        "requests",
        "limits",
    ]


def test_keda_reads_what_the_api_tells(api: httpx.Client) -> None:
    told = api.get("/metrics").text.splitlines()
    for trigger in [trigger for manifest in SCALED for trigger in manifest["spec"]["triggers"]]:
        location = trigger["metadata"]["valueLocation"]
        assert f"{location} 0.0" in told
        found = re.fullmatch(r'headway_workers_demand\{kind="(\w+)"\}', location)
        assert found is not None
        assert found[1] in KINDS


def test_jobs_for_any_device_are_seen_by_one_kind_of_worker() -> None:
    text = "".join((FOLDER / f"worker-{kind}.yaml").read_text() for kind in ("cpu", "cuda"))
    assert text.count('kind="any"') == 1
