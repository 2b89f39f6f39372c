"""What the subcommands share: options, the settings that they change, the service that they talk to."""

from typing import Annotated, Any

import httpx
import typer
from pydantic import ValidationError

from services.client.api import ApiError, Headway
from services.client.terminal import fail
from services.settings import Settings, settings

Url = Annotated[str | None, typer.Option(help="the service (HEADWAY_URL)")]
ApiKey = Annotated[str | None, typer.Option(help="your API key, where the service wants one (HEADWAY_API_KEY)")]
AsJson = Annotated[bool, typer.Option("--json", help="as the API gives it, a line of JSON each")]


def with_options(config: Settings, **options: Any) -> Settings:
    """The settings with what the command line says, checked like the rest."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings.model_validate(config.model_dump() | given)
    except ValidationError as error:
        problem = error.errors()[0]
        fail(f"--{str(problem['loc'][0]).replace('_', '-')}: {problem['msg'].removeprefix('Value error, ')}")


def service(url: str | None, key: str | None) -> "Service":
    """At `url`, which may lack its scheme, or end in /v1 as an OpenAI client's does."""
    given = url and (url if "://" in url else f"http://{url}").rstrip("/").removesuffix("/v1")
    config = with_options(settings(), url=given, api_key=key)
    return Service(config.url, config.api_key, config.timing)


class Service(Headway):
    """Its errors end the command with a sentence."""

    def __exit__(self, kind: Any, error: BaseException | None, at: Any) -> None:
        super().__exit__(kind, error, at)
        if isinstance(error, ApiError):
            fail(str(error))
        if isinstance(error, httpx.TransportError):
            fail(f"{self.url} cannot be reached: is `headway up` running there?")
