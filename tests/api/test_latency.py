"""How long requests take, by route, stands in /metrics."""

import re

import httpx


def counts(api: httpx.Client) -> dict[tuple[str, ...], float]:
    """By handler, method and status."""
    found = re.findall(
        r'^headway_http_request_duration_seconds_count\{handler="(.*?)",method="(.*?)",status="(.*?)"\} (.*)$',
        api.get("/metrics").text,
        re.MULTILINE,
    )
    return {tuple(labels): float(count) for *labels, count in found}


def test_requests_are_timed_by_route_method_and_status(api: httpx.Client) -> None:
    before = counts(api)
    api.get("/v1/files")
    for id in ("ftjob-1", "ftjob-2"):
        assert api.get(f"/v1/fine_tuning/jobs/{id}").status_code == 404
    after = counts(api)
    new = {labels: count - before.get(labels, 0) for labels, count in after.items()}
    assert new["/v1/files", "GET", "2xx"] == 1
    assert new["/v1/fine_tuning/jobs/{job_id}", "GET", "4xx"] == 2


def test_probes_and_what_is_no_route_are_not_timed(api: httpx.Client) -> None:
    jobs = "/v1/fine_tuning/jobs"
    for path in ("/healthz", "/readyz", "/wp-login.php", "/v1/nothing/here"):
        api.get(path)
    for of_a_job in ("metrics", "events"):  # their names are like those of what is left out
        api.get(f"{jobs}/ftjob-1/{of_a_job}")
    handlers = {handler for handler, *_ in counts(api)}
    assert {f"{jobs}/{{job_id}}/metrics", f"{jobs}/{{job_id}}/events"} <= handlers
    assert not handlers & {"/healthz", "/readyz", "/metrics"}
    assert not [handler for handler in handlers if re.search("php|nothing", handler)]


def test_a_stranger_adds_no_series_by_words_of_his_own(api: httpx.Client) -> None:
    before = len(counts(api))
    for n in range(20):
        refused = api.request(f"XYZZY{n}", "/v1/files")
        assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")
        assert "GET" in refused.headers["allow"]
    assert len(counts(api)) == before
