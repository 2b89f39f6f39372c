"""The environment of our processes, and what of it a process may know that decodes strangers' bytes."""

import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Final

# No store URL, no key, no password, no other program's secrets.
INHERITED: Final = re.compile(
    r"PATH|PYTHON.*|VIRTUAL_ENV|HOME|USER|LANG|LC_.*|TZ|TMPDIR|TORCH_.*|PYTORCH_.*|XDG_CACHE_HOME|LD_LIBRARY_PATH|"
    r"DYLD_.*|CUDA_.*|NVIDIA_.*|NCCL_.*|OMP_.*|MKL_.*|OPENBLAS_.*|KMP_.*|(?i:(http|https|all|no)_proxy)|"
    r"SSL_CERT_.*|REQUESTS_CA_BUNDLE"
)
# What leads into a store of objects, where HEADWAY_FILES names one: bytes are read there by who decodes them.
OF_OBJECTS: Final = {"s3": ("AWS_",), "gs": ("GOOGLE_",), "az": ("AZURE_", "IDENTITY_", "MSI_")}
PREDICTOR: Final = re.compile(r"HEADWAY_(DATA_DIR|FILES|WEIGHTS|LOG_LEVEL|PREDICTOR_(HOST|PORT|DEVICE))")


def of_module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours, whatever lies in the folder that somebody is in: a `services`, too."""
    return [sys.executable, "-P", "-m", name, *arguments]


def bare_environment() -> dict[str, str]:
    """Of ours, what a process needs that decodes strangers' bytes."""
    theirs = OF_OBJECTS.get(os.environ.get("HEADWAY_FILES", "").partition("://")[0], ())
    return {name: value for name, value in os.environ.items() if INHERITED.fullmatch(name) or name.startswith(theirs)}


def of_a_predictor(given: Mapping[str, str]) -> dict[str, str]:
    """The same, with those settings of `given` that a predictor has."""
    return bare_environment() | {name: value for name, value in given.items() if PREDICTOR.fullmatch(name)}


def pass_over_links_of_kubernetes() -> None:
    """Where a Service is named headway, or headway-something, its address comes as if it were a port of ours."""
    for name in [name for name in os.environ if re.fullmatch(r"HEADWAY_(.*_)?PORT", name)]:
        if re.match(r"(tcp|udp|sctp)://", os.environ[name]):
            address = os.environ.pop(name)
            print(f"{name}={address} is Kubernetes' link to a Service, and is passed over.", file=sys.stderr)


def environment() -> MutableMapping[str, str]:
    """All of it."""
    return os.environ
