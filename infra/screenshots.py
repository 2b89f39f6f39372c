"""`python -m infra.screenshots URL`: writes docs/images from a service that has trained the sample; needs chromium."""

import shutil
import sys
import zipfile
from pathlib import Path

from playwright.sync_api import FilePayload, Page, sync_playwright

from services.client.sample import DIGITS

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDTH = 1100


def main(url: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        job(page, url)
        train(page, url)
        browser.close()


def job(page: Page, url: str) -> None:
    page.goto(f"{url}/#/jobs")
    page.locator("table.jobs a").first.click()
    page.locator(".ask input[type=file]").set_input_files(
        FilePayload(name="3.png", mimeType="image/png", buffer=a_three())
    )
    page.locator(".probability").first.wait_for()
    page.locator(".gallery img").first.scroll_into_view_if_needed()
    page.locator(".gallery img[src]").first.wait_for()
    page.wait_for_timeout(500)  # the picture is decoded
    page.screenshot(path=IMAGES / "job.png", clip={"x": 0, "y": 0, "width": WIDTH, "height": 1640}, full_page=True)


def a_three() -> bytes:
    with zipfile.ZipFile(DIGITS) as digits:
        return digits.read("digits/3/000.png")


def train(page: Page, url: str) -> None:
    page.goto(f"{url}/#/new")
    page.locator("#earlier").select_option(index=1)
    page.locator(".thumbs img[src]").nth(39).wait_for()
    page.wait_for_timeout(500)
    page.screenshot(path=IMAGES / "train.png", full_page=True)


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
