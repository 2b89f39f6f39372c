"""The only reader of the environment: every setting, its name under HEADWAY_, its default."""

import os
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="HEADWAY_", env_ignore_empty=True, frozen=True)

    data_dir: Path = Field(Path(".headway"), description="where everything lies that is not placed elsewhere")
    files: str = Field("", description="where files and models lie: file:///…; data_dir/files if empty")
    cache_dir: Path | None = Field(None, description="where features are kept; data_dir/cache if unset")

    redis_url: str = Field("", description="redis://host:6379/0; `headway up` starts an embedded store if empty")
    redis_durable: Literal["check", "trusted"] = "check"

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    api_keys_file: Path | None = Field(None, description="sha256 of each key with its tenant, a line of JSON each")
    open: bool = Field(False, description="without keys: whoever reaches the service may use it")
    max_upload_bytes: Annotated[int, Field(gt=0)] = 512 * 1024**2

    weights: str = Field("default", description='"default", "random:N", or the path of a resnet18 state dict')
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    url: str = Field("http://127.0.0.1:8000", description="the service that the command talks to")
    api_key: str | None = Field(None, description="the key that the command sends")

    retention_days: Annotated[float, Field(gt=0)] = 30.0
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("weights")
    @classmethod
    def _weights_are_a_name_or_a_path(cls, weights: str) -> str:
        source, _, seed = weights.partition(":")
        if source == "random" and not (seed.isascii() and seed.isdigit() and len(seed) <= 18):
            raise ValueError('a random backbone needs a seed, as in "random:0"')
        return weights

    @field_validator("files")
    @classmethod
    def _files_are_local(cls, files: str) -> str:
        if files and not files.startswith("file:///"):
            raise ValueError(f"{files!r} is not supported: give a local folder as file:///absolute/path")
        return files

    @property
    def files_dir(self) -> Path:
        return Path(unquote(self.files.removeprefix("file://"))) if self.files else self.data_dir.absolute() / "files"

    @property
    def features_dir(self) -> Path:
        return self.cache_dir or self.data_dir.absolute() / "cache"

    @property
    def store_url(self) -> str:
        return self.redis_url or "redis://127.0.0.1:6379/0"

    @property
    def job_weights(self) -> str:
        """What a job that names no weights gets. A path is the worker's affair: such a job says "default"."""
        return self.weights if self.weights.startswith("random:") else "default"

    def as_environment(self) -> dict[str, str]:
        """For a child process that shall see the same settings, and the rest of our environment."""
        given = self.model_dump(mode="json", exclude_none=True)
        return os.environ | {f"HEADWAY_{name.upper()}": str(value) for name, value in given.items()}

    def refusal_to_serve(self) -> str | None:
        """Why the API must not start as it is set, if so."""
        if self.api_keys_file is not None or self.open or is_loopback(self.host):
            return None
        return (
            f"HEADWAY_HOST={self.host} would let anyone on the network use this service, since no API keys are set. "
            "Make a key with `headway keys new --tenant NAME` and set HEADWAY_API_KEYS_FILE, "
            "or set HEADWAY_OPEN=1 if whoever can reach it may use it, or keep HEADWAY_HOST=127.0.0.1."
        )


def is_loopback(host: str) -> bool:
    try:
        return host in LOOPBACK_NAMES or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@cache
def settings() -> Settings:
    """The process's settings, read once."""
    try:
        return Settings()
    except ValidationError as error:
        raise SystemExit("\n".join(_sentences(error))) from None


def _sentences(error: ValidationError) -> list[str]:
    return [
        f"HEADWAY_{'_'.join(map(str, e['loc'])).upper()}: {e['msg'].removeprefix('Value error, ')}"
        for e in error.errors()
    ]
