"""The only reader of the environment: every setting, its name under HEADWAY_, its default."""

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import AfterValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services import datafolder
from services.contract.addresses import (
    LOOPBACK_NAMES,
    checked_files_url,
    checked_key,
    checked_networks,
    checked_origin,
    checked_predictor_urls,
    checked_redis_url,
    checked_service_url,
    checked_url_path,
    is_loopback,
    name_of,
    with_password,
)
from services.contract.fleet import Pool, pools_of
from services.contract.quota import Quota
from services.contract.spec import DEFAULT_CACHE_BYTES
from services.contract.timing import Timing
from services.contract.weights import (
    AnyWeights,
    DefaultWeights,
    NamedWeights,
    RandomWeights,
    WeightsFile,
    WeightsSource,
)
from services.environment import environment, of_a_predictor, pass_over_links_of_kubernetes
from services.located import is_remote


def _if_any(check: Callable[[str], str]) -> AfterValidator:
    """Of a setting that may be empty or unset."""
    return AfterValidator(lambda value: value and check(value))


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="HEADWAY_", env_ignore_empty=True, frozen=True)

    data_dir: Path = Field(default_factory=datafolder.usual, description=datafolder.ABOUT)
    files: Annotated[str, _if_any(checked_files_url)] = Field(
        "",
        description="where files and models lie: `file:///…`, or `s3://bucket/folder`, `gs://…`, `az://…`; "
        "`files` in the data folder if empty",
    )
    cache_dir: Path | None = Field(None, description="where features lie; `cache` in the data folder if unset")
    cache_bytes: int = Field(
        DEFAULT_CACHE_BYTES, ge=0, description="of features for each tenant; the least recently used go first"
    )

    redis_url: Annotated[str, _if_any(checked_redis_url)] = Field(
        "",
        description="`redis://host:6379/0`: a Redis ≥ 7 or Valkey of your own, append-only and `noeviction`, else it "
        "is refused; `redis+sentinel://host,host/name` by Sentinels; `headway up` starts an embedded one if empty",
    )
    redis_password: str | None = Field(None, description="of that Redis, where it does not stand in the URL")
    redis_password_file: Path | None = Field(None, description="a file that holds it, where it is set nowhere else")
    redis_durable: Literal["check", "trusted"] = Field(
        "check", description="`trusted` where a provider persists in a way that INFO does not show"
    )

    host: str = Field("127.0.0.1", description="what the API binds to; another than loopback only with keys, or `open`")
    port: int = Field(8000, ge=1, le=65535, description="of the API")
    keep_alive: float = Field(
        75.0,
        gt=0,
        le=3600,
        description="seconds an idle connection is kept: longer than a proxy before it does",
    )
    api_keys_file: Path | None = Field(None, description="the keys' hashes with their tenants, a line of JSON each")
    open: bool = Field(False, description="without keys: whoever reaches the service may use it")
    hosts: str = Field("", description="names that an open service answers to, beside this machine's; any if empty")
    quota: Quota = Field(
        Quota(), description='of each tenant, as JSON: `{"stored_bytes": 100000000000, "queued_jobs": 500}`'
    )
    cors_origins: str = Field(
        "", description="of other sites' pages that may call it, as http://localhost:3000, with commas between"
    )
    root_path: Annotated[str, _if_any(checked_url_path)] = Field(
        "", description="the path under which a proxy serves it, as /headway"
    )
    max_upload_bytes: int = Field(8 * 1024**3, gt=0, description="of one upload; more is cut off with 413")

    predictor_url: Annotated[str, AfterValidator(checked_predictor_urls)] = Field(
        "http://127.0.0.1:8001",
        description="of the predictors that the API asks, with commas between; `unix:///path` for a socket",
    )
    predictor_host: str = Field("127.0.0.1", description="what a predictor binds to: it knows no keys")
    predictor_port: int = Field(8001, ge=1, le=65535, description="of a predictor")
    predictor_device: str = Field(
        "cpu", pattern=r"^(cpu|mps|cuda(:\d+)?)$", description="where its backbone runs, always in fp32"
    )

    webhook_networks: Annotated[str, AfterValidator(checked_networks)] = Field(
        "",
        description="of your own that webhooks may reach beside public addresses, and by http:// too: "
        "`127.0.0.0/8,10.1.0.0/16`, or `any`",
    )

    weights: Annotated[WeightsSource, NoDecode] = Field(
        DefaultWeights(),
        description="`default` (torchvision's, trained on ImageNet), `random:N`, or the path of a resnet18's weights",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="what a worker trains on: the best there is, or one",
    )
    spare_memory: int = Field(2 * 1024**3, ge=0, description="bytes that a trainer kept ready may take; 0 for none")
    trainer_memory: int = Field(
        0, ge=0, description="bytes that a trainer may take until it is ended; 0 for nine tenths of the machine's"
    )
    worker_idle: float | None = Field(
        None, gt=0, description="seconds without a job until a worker ends, as one that was drained; never if unset"
    )
    url: Annotated[str, AfterValidator(checked_service_url)] = Field(
        "http://127.0.0.1:8000", description="the service that the command talks to"
    )
    api_key: Annotated[str | None, _if_any(checked_key)] = Field(None, description="the key that the command sends")

    autoscale: str = Field("cpu=0-4", description="workers at least and at most, by device kind: `cuda=0-1,cpu=0-2`")
    autoscale_provider: Literal["process", "compose"] = Field(
        "process", description="workers as processes of the autoscaler's machine, or as containers"
    )
    autoscale_cooldown: float = Field(60.0, ge=0, description="seconds without need until a worker is drained")
    autoscale_last_cooldown: float = Field(180.0, ge=0, description="the same for the last one of its kind")
    compose_project: str = Field("headway", description="whose worker containers the compose provider adds and drains")

    retention_days: float | None = Field(
        None, gt=0, description="that an ended job is kept, with its model and checkpoints; for good if unset"
    )
    alive_file: Path | None = Field(None, description="touched by what works: a container's health check looks at it")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="of every process")
    time_scale: float = Field(1.0, gt=0, le=10, description="for tests: every lease, timeout and pause times this")

    @field_validator("redis_url", "redis_password", "api_key", "url", mode="before")
    @classmethod
    def _newlines_of_a_secret_file_go(cls, value: Any) -> Any:
        return value.strip("\r\n") if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _levels_in_any_case(cls, level: Any) -> Any:
        return level.upper() if isinstance(level, str) else level

    @field_validator("data_dir", "cache_dir", "api_keys_file", "alive_file", "redis_password_file")
    @classmethod
    def _home_is_known(cls, path: Path | None) -> Path | None:
        return path and path.expanduser()

    @field_validator("weights")
    @classmethod
    def _home_of_weights_is_known(cls, weights: AnyWeights) -> AnyWeights:
        return WeightsFile(weights.path.expanduser()) if isinstance(weights, WeightsFile) else weights

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, origins: str) -> str:
        for origin in _listed(origins):
            checked_origin(origin)
        return origins

    @field_validator("autoscale")
    @classmethod
    def _autoscale_names_pools(cls, autoscale: str) -> str:
        pools_of(autoscale)
        return autoscale

    @property
    def pools(self) -> list[Pool]:
        """What `autoscale` says; the first is the one that a job for any device should get."""
        return pools_of(self.autoscale)

    @property
    def host_names(self) -> frozenset[str] | None:
        """What an HTTP request may call this service where no keys are set; None for anything."""
        if self.open and not self.hosts:
            return None
        return LOOPBACK_NAMES | {name_of(host) for host in _listed(self.hosts)}

    @property
    def origins(self) -> list[str]:
        """Of pages that may call this service from a browser."""
        return [checked_origin(origin) for origin in _listed(self.cors_origins)]

    @property
    def predictors(self) -> list[str]:
        """Their addresses."""
        return _listed(self.predictor_url)

    @property
    def files_at(self) -> str:
        """The root of the store of bytes (see `located`)."""
        return self.files if is_remote(self.files) else str(self.files_dir)

    @property
    def files_dir(self) -> Path:
        """Where that is a folder."""
        return Path(unquote(self.files.removeprefix("file://"))) if self.files else self.data_dir.absolute() / "files"

    @property
    def features_dir(self) -> Path:
        return self.cache_dir or self.data_dir.absolute() / "cache"

    @property
    def store_url(self) -> str:
        password = self.redis_password or self._in_file(self.redis_password_file)
        return with_password(self.redis_url or "redis://127.0.0.1:6379/0", password)

    @staticmethod
    def _in_file(path: Path | None) -> str | None:
        try:
            return path.read_text().strip("\r\n") if path else None
        except OSError as error:
            raise SystemExit(f"HEADWAY_REDIS_PASSWORD_FILE: {path} cannot be read ({error.strerror}).") from None

    @property
    def timing(self) -> Timing:
        return Timing().scaled(self.time_scale)

    @property
    def job_weights(self) -> NamedWeights:
        """What a job that names no weights gets. A path is the worker's affair: such a job says "default"."""
        return self.weights if isinstance(self.weights, RandomWeights) else DefaultWeights()

    def weights_source(self, weights: NamedWeights) -> AnyWeights:
        """Where a job's weights come from on this machine."""
        if isinstance(weights, RandomWeights) or isinstance(self.weights, RandomWeights):
            return weights
        return self.weights

    def as_environment(self) -> dict[str, str]:
        """For a child process that shall see the same settings, and the rest of our environment."""
        given = self.model_dump(mode="json", exclude_none=True)
        texts = {name: json.dumps(value) if isinstance(value, dict) else str(value) for name, value in given.items()}
        return dict(environment()) | {f"HEADWAY_{name.upper()}": text for name, text in texts.items()}

    def environment_of_predictor(self) -> dict[str, str]:
        """It decodes strangers' pictures: what leads to the store, and every key, stays out of it."""
        return of_a_predictor(self.as_environment())

    def start_logging(self) -> None:
        """Of this process, to stderr."""
        logging.basicConfig(level=self.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        logging.getLogger("httpx").setLevel(max(logging.WARNING, logging.getLevelName(self.log_level)))

    def show_alive(self) -> None:
        """This process has just done its work."""
        if self.alive_file is not None:
            with suppress(OSError):  # who looks at it will see its age
                self.alive_file.touch()

    def refusal_to_serve(self) -> str | None:
        """Why the API must not start as it is set, if so."""
        if self.api_keys_file is not None or self.open or is_loopback(self.host):
            return None
        return (
            f"HEADWAY_HOST={self.host} would let anyone on the network use this service, since no API keys are set. "
            "Make a key with `headway keys new --tenant NAME` and set HEADWAY_API_KEYS_FILE, "
            "or set HEADWAY_OPEN=1 if whoever can reach it may use it, or keep HEADWAY_HOST=127.0.0.1."
        )


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


@cache
def settings() -> Settings:
    """The process's settings, read once."""
    pass_over_links_of_kubernetes()
    try:
        return Settings()
    except ValidationError as error:
        raise SystemExit("\n".join(_sentences(error))) from None


def _sentences(error: ValidationError) -> list[str]:
    return [
        f"HEADWAY_{'_'.join(map(str, e['loc'])).upper()}: {e['msg'].removeprefix('Value error, ')}"
        for e in error.errors()
    ]
