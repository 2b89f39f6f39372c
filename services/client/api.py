"""The public API as the command uses it: upload, submit, follow."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import httpx
from httpx_sse import ServerSentEvent, connect_sse

from services.contract.addresses import is_loopback
from services.contract.layout import Layout
from services.contract.timing import Timing


class ApiError(Exception):
    """What the service answered, as a sentence."""


@dataclass
class Headway:
    """A service at `url`, called with `key` where it wants one."""

    url: str
    key: str | None = None
    timing: Timing = field(default_factory=Timing)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        local = is_loopback(httpx.URL(self.url).host)  # where a proxy of the environment has no business
        try:
            self._http = httpx.Client(
                base_url=self.url, headers=headers, timeout=self.timing.client_request, trust_env=not local
            )
        except ImportError:
            raise ApiError(
                "The proxy that the environment names (ALL_PROXY) speaks SOCKS: pip install 'httpx[socks]', or name "
                "the service in NO_PROXY."
            ) from None

    def __enter__(self) -> "Headway":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def upload(self, name: str, content: IO[bytes], layout: Layout | None = None) -> dict[str, Any]:
        """The file object of an uploaded archive."""
        form = {"purpose": "fine-tune"}
        if layout is not None:
            form["layout"] = layout.model_dump_json(exclude_defaults=True)
        return self._json(self._http.post("/v1/files", data=form, files={"file": (name, content)}, timeout=None))

    def submit(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._json(self._http.post("/v1/fine_tuning/jobs", json=body))

    def job(self, id: str) -> dict[str, Any]:
        return self._json(self._http.get(f"/v1/fine_tuning/jobs/{id}"))

    def jobs(self) -> list[dict[str, Any]]:
        """The newest page."""
        return list(self._json(self._http.get("/v1/fine_tuning/jobs"))["data"])

    def wish(self, id: str, action: str) -> dict[str, Any]:
        """cancel, pause or resume."""
        return self._json(self._http.post(f"/v1/fine_tuning/jobs/{id}/{action}"))

    def delete(self, id: str) -> None:
        """A job, a file or a model, by its id."""
        kind = {"file": "files", "ft:r": "models"}.get(id[:4], "fine_tuning/jobs")
        self._json(self._http.delete(f"/v1/{kind}/{id}"))

    def files(self) -> list[dict[str, Any]]:
        """The newest."""
        return list(self._json(self._http.get("/v1/files"))["data"])

    def events(self, id: str) -> list[dict[str, Any]]:
        """All that are kept, oldest first."""
        found: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            page = self._json(self._http.get(f"/v1/fine_tuning/jobs/{id}/events", params={"limit": 100, **after}))
            found += page["data"]
            if not page["has_more"]:
                return found[::-1]
            after = {"after": page["data"][-1]["id"]}

    def forget(self, tenant: str) -> dict[str, Any]:
        """One pass; jobs that are still being stopped need another."""
        return self._json(self._http.delete(f"/v1/tenants/{tenant}", timeout=None))

    def workers(self) -> list[dict[str, Any]]:
        return list(self._json(self._http.get("/v1/workers"))["data"])

    def model(self, id: str) -> dict[str, Any]:
        return self._json(self._http.get(f"/v1/models/{id}"))

    def model_of(self, name: str) -> str:
        """Its id, of a model's or of the job that made it."""
        found = self.job(name)["fine_tuned_model"] if name.startswith("ftjob-") else name
        if found is None:
            raise ApiError(f"{name} has no model: it has not succeeded.")
        return str(found)

    def models(self) -> list[dict[str, Any]]:
        """The newest."""
        return list(self._json(self._http.get("/v1/models"))["data"])

    def mistakes(self, job: str, most: int) -> list[dict[str, Any]]:
        """Held-out images that its model takes for something else, the worst first."""
        asked = {"wrong": True, "limit": most}
        answer = self._http.get(f"/v1/fine_tuning/jobs/{job}/evaluation/images", params=asked)
        return [] if answer.status_code == 404 else list(self._json(answer)["data"])  # it held out nothing, or is old

    def manifest(self, model: str) -> dict[str, Any]:
        return self._json(self._http.get(f"/v1/models/{model}/manifest"))

    def metrics(self, job: str) -> dict[str, Any]:
        return self._json(self._http.get(f"/v1/fine_tuning/jobs/{job}/metrics", params={"points": 1_000_000}))

    def predict(self, model: str, images: Sequence[tuple[str, Path]], top_k: int) -> list[dict[str, Any]]:
        """What each image shows, in their order; asked again while nobody has time for them."""
        form = {"model": model, "top_k": str(top_k)}
        deadline = time.monotonic() + self.timing.client_patience
        while True:
            files = [("image", (name, path.read_bytes())) for name, path in images]
            answer = self._http.post("/v1/predictions", data=form, files=files, timeout=2 * self.timing.prediction)
            if answer.headers.get("x-should-retry") != "true" or time.monotonic() > deadline:
                return list(self._json(answer)["data"])
            time.sleep(float(answer.headers.get("retry-after", self.timing.client_pause)))

    def download(self, model: str, format: str, to: Path) -> None:
        with self._http.stream("GET", f"/v1/models/{model}/content", params={"format": format}) as answer:
            if answer.is_error:
                answer.read()
                self._json(answer)
            with to.open("wb") as file:
                for chunk in answer.iter_bytes():
                    file.write(chunk)

    def follow(self, id: str) -> Iterator[dict[str, Any]]:
        """Each event once, in order, over any number of disconnects, until the job has ended."""
        last: str | None = None
        broken_since: float | None = None
        while True:
            try:
                for event in self._stream(id, last):
                    broken_since = None
                    if event.event == "done":
                        return
                    if event.event == "message":
                        last = event.id
                        yield event.json()
            except (httpx.TransportError, _Away):
                broken_since = broken_since or time.monotonic()
                if time.monotonic() - broken_since > self.timing.client_patience:
                    raise
            time.sleep(self.timing.client_pause)

    def _stream(self, id: str, last: str | None) -> Iterator[ServerSentEvent]:
        headers = {"Last-Event-ID": last} if last else {}
        path = f"/v1/fine_tuning/jobs/{id}/events"
        with connect_sse(self._http, "GET", path, headers=headers) as source:
            if source.response.status_code == 204:
                yield ServerSentEvent(event="done")
                return
            if source.response.status_code == 503:
                raise _Away("the service is not available")
            if source.response.is_error:
                source.response.read()
                self._json(source.response)
            yield from source.iter_sse()

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            body: dict[str, Any] = answer.json()
        except ValueError:
            raise ApiError(
                f"{answer.url} answered {answer.status_code}, and no JSON: is this a Headway service?"
            ) from None
        if answer.is_error:
            raise ApiError(str(body.get("detail") or body))
        return body


class _Away(ApiError):
    """The service answers, but not its store."""
