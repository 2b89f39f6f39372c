"""From a drop to an answer, in a browser: real pictures, a real worker, the service's own streams."""

import csv
import hashlib
import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import FilePayload, Page, expect

from services.api.dashboard import assets
from services.client.stack import Stack
from services.settings import Settings
from tests.conftest import free_port, running_api
from tests.drawing import png, shape, shapes, zipped
from tests.jobs import JOBS, Upload, ended, running_long, submitted
from tests.waiting import wait_until

pytestmark = pytest.mark.browser
Open = Callable[..., Page]

BEFORE_ANYTHING = """
    const real = window.fetch;
    window.cut = 0;
    window.fetch = (where, how = {}) => {
        if (!String(where).endsWith("v1/events")) return real(where, how);
        const mine = new AbortController();
        how.signal?.addEventListener("abort", () => mine.abort());
        window.cutTheStream = () => (window.cut++, mine.abort());
        return real(where, { ...how, signal: mine.signal });
    };
"""


def payloads(name: str, count: int) -> list[FilePayload]:
    return [FilePayload(name=f"{i}.png", mimeType="image/png", buffer=png(shape(name, i))) for i in range(count)]


def drawn(page: Page) -> dict[str, list[Any]]:
    """The training loss as the page holds it, point by point."""
    found: dict[str, list[Any]] | None = page.evaluate("document.querySelector('.plot')?.chart.lines()[0] ?? null")
    return found or {"step": [], "value": []}


def judged_by_axe(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    serious = [f"{rule['id']}: {rule['nodes'][0]['html'][:120]}" for rule in found if rule["impact"] in SERIOUS]
    assert not serious


SERIOUS = ("serious", "critical")
FOCUSED = """{
    const one = document.activeElement;
    (one.closest("label, a, button, select")?.innerText || one.placeholder || "").trim()
}"""


@pytest.mark.slow
def test_photos_in_label_boxes_become_a_model_that_answers(
    the_stack: Stack, service: httpx.Client, opened: Open
) -> None:
    page = opened(f"{the_stack.url}/#/new")
    boxes = page.locator(".box")
    for number, name in enumerate(("circle", "square")):
        boxes.nth(number).get_by_label("name of the label").fill(name)
        boxes.nth(number).locator("input[type=file]").set_input_files(payloads(name, 12))
    page.get_by_role("button", name="Upload").click()
    expect(page.locator(".report h3")).to_have_text("photos.tar: 24 images, 2 labels")
    expect(page.locator(".thumbs img").first).to_have_js_property("naturalWidth", 64)
    judged_by_axe(page)

    page.get_by_label("Learning rate").fill("fast")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_label("Learning rate")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Learning rate").fill("0.001, 0.01")
    page.get_by_label("Name", exact=True).fill("shapes")
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("h1")).to_have_text("shapes")
    expect(page.locator(".pill").first).to_have_text("succeeded", timeout=120_000)

    expect(page.get_by_role("heading", name="Trials")).to_be_visible()
    expect(page.locator(".parallel polyline")).to_have_count(2)
    expect(page.locator(".u-wrap")).to_have_count(2)
    job = page.url.rpartition("/")[2]
    evaluation = service.get(f"{JOBS}/{job}/evaluation").json()
    expect(page.locator("dl.facts").last).to_contain_text(f"{100 * evaluation['accuracy']:.1f} %")
    cell = page.locator(".confusion .right button").first
    cell.click()
    expect(page.locator(".gallery figure")).to_have_count(int(cell.inner_text()))
    expect(page.locator(".gallery img").first).to_have_js_property("naturalWidth", 64)
    judged_by_axe(page)

    page.locator(".ask input[type=file]").set_input_files(payloads("square", 1))
    expect(page.locator(".probability")).to_have_count(2)
    model = service.get(f"{JOBS}/{job}").json()["fine_tuned_model"]
    answer = service.post("/v1/predictions", data={"model": model}, files={"image": ("a.png", png(shape("square", 0)))})
    best = answer.json()["data"][0]["labels"][0]
    expect(page.locator(".probability").first).to_contain_text(best["label"])
    expect(page.locator(".probability").first).to_contain_text(f"{100 * best['probability']:.1f} %")
    page.get_by_role("button", name="Use the camera").click()
    expect(page.locator(".ask video")).to_be_visible()
    expect(page.locator(".probability")).to_have_count(2)
    with page.expect_download() as saved:
        page.get_by_role("button", name="all in one zip").click()
    assert Path(saved.value.path()).read_bytes()[:2] == b"PK"


def test_folders_and_archives_can_be_chosen_and_large_photos_are_shrunk(
    the_stack: Stack, opened: Open, tmp_path: Path, service: httpx.Client
) -> None:
    for label in ("circle", "square"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(3):
            shape(label, i).resize((1500, 1200)).save(tmp_path / "set" / label / f"{'long-' * 25}{i}.jpg", quality=98)
    page = opened(f"{the_stack.url}/#/new")
    page.locator(".drop input").nth(1).set_input_files(tmp_path / "set")
    page.get_by_label("Shrink large photos first").check()
    page.get_by_role("button", name="Upload").click()
    expect(page.locator(".report h3")).to_have_text("set.tar: 6 images, 2 labels")
    file = service.get("/v1/files", params={"limit": 1}).json()["data"][0]
    assert file["bytes"] < 300_000
    names = [image["id"] for image in service.get(f"/v1/files/{file['id']}/images").json()["data"]]
    assert names == sorted(f"set/{label}/{'long-' * 25}{i}.jpg" for label in ("circle", "square") for i in range(3))

    archive = FilePayload(name="mine.zip", mimeType="application/zip", buffer=zipped(shapes(2)))
    page.locator(".drop input").nth(0).set_input_files(archive)
    expect(page.locator(".report h3")).to_have_text("mine.zip: 4 images, 2 labels")
    wrong = FilePayload(name="no.zip", mimeType="application/zip", buffer=b"this is no archive")
    page.locator(".drop input").nth(0).set_input_files(wrong)
    expect(page.get_by_role("alert").filter(has_text="archive")).to_be_visible()


@pytest.mark.slow
def test_the_curve_has_neither_hole_nor_double_through_cuts_and_reloads(
    the_stack: Stack, service: httpx.Client, upload: Upload, opened: Open
) -> None:
    job = running_long(service, upload)
    page = opened("about:blank")
    page.add_init_script(BEFORE_ANYTHING)
    page.goto(f"{the_stack.url}/#/jobs/{job}")
    expect(page.locator("#connection")).to_have_text("live")
    for _ in range(3):
        before = len(drawn(page)["step"])
        page.evaluate("window.cutTheStream()")
        wait_until(lambda before=before: len(drawn(page)["step"]) > before, seconds=30)  # type: ignore[misc]
    page.reload()
    expect(page.locator(".u-wrap").first).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".pill").first).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".pill").first).to_have_text("running", timeout=60_000)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".pill").first).to_have_text("cancelled")
    whole = all_points(service, job)
    wait_until(lambda: drawn(page)["step"][-1] == max(whole), seconds=20)
    found = drawn(page)
    assert found["value"] == pytest.approx([whole[step] for step in found["step"]])
    between = {later - step for step, later in pairwise([0, *found["step"]])}
    assert min(between) > 0 and max(between) <= 1 + len(whole) // 20_000  # thinned as it is loaded, but evenly


def all_points(service: httpx.Client, job: str) -> dict[int, float]:
    """The training loss by step, from the API."""
    rows = csv.DictReader(service.get(f"{JOBS}/{job}/metrics", params={"format": "csv"}).text.splitlines())
    return {int(row["step"]): float(row["value"]) for row in rows if row["series"] == "train_loss"}


@pytest.mark.slow
def test_an_api_that_is_killed_in_mid_stream_is_found_again(
    the_stack: Stack, service: httpx.Client, upload: Upload, opened: Open
) -> None:
    job = running_long(service, upload)
    page = opened(f"{the_stack.url}/#/jobs/{job}")
    expect(page.locator("#connection")).to_have_text("live")
    (api,) = (managed for managed in the_stack.processes if managed.name == "api")
    api.process.kill()
    expect(page.locator("#connection")).to_have_text("connecting …")

    def is_back() -> bool:
        the_stack.check()
        page.wait_for_timeout(200)
        return page.locator("#connection").inner_text() == "live"

    wait_until(is_back, seconds=60)
    before = len(drawn(page)["step"])
    wait_until(lambda: len(drawn(page)["step"]) > before, seconds=30)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".pill").first).to_have_text("cancelled")
    wait_until(lambda: drawn(page)["step"][-1] == max(all_points(service, job)), seconds=20)


def test_two_tabs_share_one_stream_and_the_second_goes_on_alone(
    the_stack: Stack, service: httpx.Client, upload: Upload, opened: Open
) -> None:
    def streams() -> float:
        found = re.search(r"^headway_streams_open (\S+)", service.get("/metrics").text, re.M)
        return float(found[1]) if found else -1

    first = opened(f"{the_stack.url}/#/jobs")
    expect(first.locator("#connection")).to_have_text("live")
    wait_until(lambda: streams() == 1)
    second = first.context.new_page()
    second.goto(f"{the_stack.url}/#/jobs")
    expect(second.locator("#connection")).to_have_text("live")
    job = submitted(service, upload, shapes(3))
    expect(second.get_by_role("link", name=job[-6:])).to_be_visible()
    assert streams() == 1
    first.close()
    ended(service, job)
    other = submitted(service, upload, shapes(3))
    expect(second.get_by_role("link", name=other[-6:])).to_be_visible()
    row = second.locator("tr", has_text=other)
    expect(row.locator(".pill")).to_have_text("succeeded", timeout=60_000)


@pytest.mark.slow
def test_where_keys_are_set_the_page_asks_for_one_and_keeps_it_for_the_session(
    tmp_path: Path, redis_url: str, opened: Open, upload: Upload
) -> None:
    key = "headway-" + "k" * 32
    keys = tmp_path / "keys.jsonl"
    keys.write_text(json.dumps({"sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": "anna"}) + "\n")
    config = Settings(data_dir=tmp_path, redis_url=redis_url, port=free_port(), api_keys_file=keys)
    with running_api(config) as api:
        api.headers["Authorization"] = f"Bearer {key}"
        upload(api, zipped(shapes(2)))
        page = opened(f"{api.base_url}/#/new")
        dialog = page.get_by_role("dialog")
        judged_by_axe(page)
        dialog.get_by_label("API key").fill("wrong")
        dialog.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("dialog")).to_contain_text("not taken")
        page.get_by_role("dialog").get_by_label("API key").fill(key)
        page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
        expect(page.locator("#connection")).to_have_text("live")
        page.locator("#earlier").select_option(index=1)
        expect(page.locator(".thumbs img").first).to_have_js_property("naturalWidth", 64)
        page.reload()
        expect(page.locator("#connection")).to_have_text("live")
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert key not in page.evaluate("JSON.stringify(localStorage)") and not page.context.cookies()


@pytest.mark.slow
def test_on_a_phone_nothing_is_wider_than_the_screen(
    the_stack: Stack, service: httpx.Client, upload: Upload, opened: Open
) -> None:
    job = submitted(service, upload, shapes(8), suffix="a-rather-long-name-for-a-model-of-shapes")
    ended(service, job)
    for colours in ("light", "dark"):
        page = opened(the_stack.url, width=390, height=844, color_scheme=colours)
        for place, title in (
            ("new", "Train"),
            ("jobs", "Jobs"),
            (f"jobs/{job}", "a-rather-long-name-for-a-model-of-shapes"),
            ("models", "Models"),
            ("workers", "Workers"),
            (f"compare/{job}", "Compared"),
        ):
            page.goto(f"{the_stack.url}/#/{place}")
            expect(page).to_have_title(f"{title} · Headway")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, place
            judged_by_axe(page)


def test_the_fleet_is_shown_with_its_preflight(the_stack: Stack, service: httpx.Client, opened: Open) -> None:
    page = opened(f"{the_stack.url}/#/workers")
    expect(page.locator("article.worker")).to_have_count(2)
    expect(page.get_by_text("Preflight passed").first).to_be_visible()
    expect(page.get_by_text("none waits")).to_be_visible()


def test_a_keyboard_reaches_everything_and_the_focus_is_seen(the_stack: Stack, opened: Open) -> None:
    page = opened(f"{the_stack.url}/#/new")
    expect(page.locator(".drop")).to_be_visible()
    reached = []
    for _ in range(30):  # past the last, to the first again
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
    wanted = {"Train", "Jobs", "Workers", "Choose an archive", "Choose a folder", "label", "Add photos", "Add a label"}
    assert wanted <= set(reached)


def test_what_names_hold_is_text_and_never_markup(
    service: httpx.Client, the_stack: Stack, upload: Upload, opened: Open
) -> None:
    evil = "<img src=x onerror=alert(1)>"
    files = {f"{evil}/{i}.png": png(shape("circle", i)) for i in range(3)} | shapes(3, ("square",))
    name = f"{evil}.zip"
    file = service.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": (name, zipped(files))}).json()["id"]
    job = service.post(JOBS, json={"training_file": file, "metadata": {"x": evil}}).json()["id"]
    ended(service, job)
    page = opened(f"{the_stack.url}/#/jobs/{job}")
    expect(page.get_by_role("heading", name="Label by label")).to_be_visible()
    expect(page.locator("th", has_text=evil).first).to_be_visible()
    page.goto(f"{the_stack.url}/#/new")
    page.locator("#earlier").select_option(value=file)
    expect(page.locator(".report th", has_text=evil)).to_be_visible()
    assert page.locator("img[src='x']").count() == 0


def test_a_job_whose_model_was_deleted_still_has_its_page(
    the_stack: Stack, service: httpx.Client, upload: Upload, opened: Open
) -> None:
    job = submitted(service, upload, shapes(3))
    service.delete(f"/v1/models/{ended(service, job)['fine_tuned_model']}")
    page = opened(f"{the_stack.url}/#/jobs/{job}")
    expect(page.get_by_text("Its model was deleted.")).to_be_visible()
    expect(page.get_by_text("Job accepted")).to_be_visible()
    expect(page.locator(".u-wrap").first).to_be_visible()


def test_all_of_it_is_small_and_comes_from_here(the_stack: Stack, opened: Open) -> None:
    assert sum(len(asset.packed) for asset in assets().values()) <= 150_000
    page = opened("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{the_stack.url}/")
    expect(page.locator("#connection")).to_have_text("live")
    assert all(url.startswith((the_stack.url, "blob:")) for url in asked)
    for path in ("/", "/dashboard/js/main.js"):
        answer = httpx.get(the_stack.url + path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["content-encoding"] == "gzip"
        assert httpx.get(the_stack.url + path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert httpx.get(f"{the_stack.url}/dashboard/../settings.py").status_code == 404
    assert httpx.get(f"{the_stack.url}/dashboard/__init__.py").status_code == 404
