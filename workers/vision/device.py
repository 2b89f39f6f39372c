"""Devices: which there are, and opening one."""

import os
import platform
from contextlib import suppress
from pathlib import Path

import torch

from services.contract.errors import DeviceUnavailable
from services.contract.recipe import Precision


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


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def take_cores(count: int) -> None:
    """For this thread's work alone. Until a thread has asked, torch gives it what any other set last."""
    torch.set_num_threads(count)
    torch.get_num_threads()


def native(device: torch.device) -> list[Precision]:
    """Precisions below fp32 that this device computes faster, best first."""
    if device.type == "mps":
        return ["fp16"]
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return ["bf16", "fp16"] if has_bf16 else ["fp16"]
    has = torch.cpu.get_capabilities()
    return ["bf16"] if has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16") else []


def describe(name: str) -> str:
    return torch.cuda.get_device_name(name) if name.startswith("cuda") else name


def driver(name: str) -> str:
    """Its version; of a device without one, the system's."""
    if name.startswith("cuda"):
        return str(torch._C._cuda_getDriverVersion())  # type: ignore[attr-defined]
    return platform.mac_ver()[0] or platform.release()


def processor() -> str:
    """Its model, and the instructions that torch uses of it."""
    found = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), found)
    return f"{found}, {torch.backends.cpu.get_cpu_capability()}"
