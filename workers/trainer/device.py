"""Devices: which there are, and opening one."""

import torch

from services.contract.errors import DeviceUnavailable


def candidates(asked: str = "auto") -> list[str]:
    """The devices to try, best first. `asked` is "auto", or one device and nothing else."""
    if asked != "auto":
        return ["cuda:0" if asked == "cuda" else asked]
    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def open_device(name: str) -> torch.device:
    """The device, once a tensor has been there and back. Raises DeviceUnavailable."""
    try:
        device = torch.device(name)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # "fp32" means fp32
        torch.ones(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without CUDA
        raise DeviceUnavailable(f"The device {name} cannot be used: {str(error).splitlines()[0]}") from None
    return device


def describe(name: str) -> str:
    return torch.cuda.get_device_name(name) if name.startswith("cuda") else name
