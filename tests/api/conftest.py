from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.drawing import shapes, zipped


@pytest.fixture
def file(api: httpx.Client, upload: Callable[..., httpx.Response]) -> str:
    """An uploaded file of two labels."""
    answer = upload(api, zipped(shapes(5)))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


@pytest.fixture
def submit(api: httpx.Client, file: str) -> Callable[..., httpx.Response]:
    def submit(**body: Any) -> httpx.Response:
        return api.post("/v1/fine_tuning/jobs", json={"training_file": file} | body)

    return submit


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The body of a refusal, once it has the one shape that all have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["detail"] == body["error"]["message"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert "Traceback" not in answer.text
    return body
