"""The environment of our processes, and what of it a process may know that decodes strangers' bytes."""

import os
import re
from collections.abc import MutableMapping
from typing import Final

# No store URL, no key, no password, no other program's secrets.
INHERITED: Final = re.compile(
    r"PATH|PYTHON.*|VIRTUAL_ENV|HOME|USER|LANG|LC_.*|TZ|TMPDIR|TORCH_.*|PYTORCH_.*|XDG_CACHE_HOME|LD_LIBRARY_PATH|"
    r"DYLD_.*|CUDA_.*|NVIDIA_.*|NCCL_.*|OMP_.*|MKL_.*|OPENBLAS_.*|KMP_.*|(?i:(http|https|all|no)_proxy)|"
    r"SSL_CERT_.*|REQUESTS_CA_BUNDLE"
)


def bare_environment() -> dict[str, str]:
    """Of ours, what a process needs that decodes strangers' bytes."""
    return {name: value for name, value in os.environ.items() if INHERITED.fullmatch(name)}


def environment() -> MutableMapping[str, str]:
    """All of it."""
    return os.environ
