"""Draw the pictures of the pages of ``tinycnn serve`` into docs/pictures, with few colours to keep the files small.

python docs/pictures_of_the_pages.py runs/keras_cnn/model.safetensors

The model file is for the page for drawing; the walk is that of docs/walk; the page for pictures has a network that is
trained here, on shapes. After the model file, the pages to draw can be named: walk, page, pictures (default: all).
Needs Chromium, and: pip install playwright
"""

import io
import math
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
import pictures_of_shapes
import recorded_walk

FOLDER, COLOURS = Path(__file__).parent / "pictures", 256
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
PAGE: dict[str, Any] = {"viewport": {"width": 1100, "height": 1040}}
PICTURES: dict[str, Any] = {"viewport": {"width": 1100, "height": 900}}
UPPER = [(0.47 + 0.17 * math.cos(a / 10), 0.32 + 0.17 * math.sin(a / 10)) for a in range(-28, 16)]
LOWER = [(0.47 + 0.2 * math.cos(a / 10), 0.68 + 0.19 * math.sin(a / 10)) for a in range(-15, 27)]
THREE = [*UPPER, *LOWER]


def save(name: str, picture: bytes) -> None:
    """Write a screenshot as docs/pictures/NAME.png."""
    few = Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, kmeans=3, dither=Image.Dither.NONE)
    few.save(FOLDER / f"{name}.png", optimize=True)


def draw_walk(browser: Browser, address: str) -> None:
    """The way back through the first convolution: on a desktop in both colour schemes, and on a phone."""
    for name, size, scheme in (
        ("walk", DESKTOP, "light"),
        ("walk_dark", DESKTOP, "dark"),
        ("walk_phone", PHONE, "light"),
    ):
        context = browser.new_context(**size, color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f"{address}#layer=conv2d_1")
        page.wait_for_selector("#walk:not([hidden])")
        top = (
            "#panels').getBoundingClientRect().top - 80"
            if size is PHONE
            else ".colours').getBoundingClientRect().bottom"
        )
        page.evaluate(f"scrollTo(0, document.querySelector('{top} + scrollY)")
        page.wait_for_timeout(500)
        save(name, page.screenshot())
        context.close()


def draw_page(browser: Browser, address: str) -> None:
    """A drawn three, read by the network."""
    page = browser.new_page(**PAGE)
    page.goto(address)
    page.locator("#bars li").first.wait_for()
    stroke(page)
    expect(page.locator("#digit")).to_have_text("3")
    page.wait_for_timeout(1000)
    save("page", page.screenshot())


def draw_pictures(browser: Browser, folder: Path) -> None:
    """The page for pictures, with a picture of each class that the network has not seen."""
    pictures_of_shapes.write_network(folder / "model.safetensors")
    rng, files = np.random.default_rng(7), []
    for kind, name in enumerate(pictures_of_shapes.NAMES):
        files.append(folder / f"{name}.png")
        pictures_of_shapes.draw(kind, rng).save(files[-1])
    with serving(str(folder / "model.safetensors")) as address:
        page = browser.new_page(**PICTURES)
        page.goto(address)
        page.locator("#files").set_input_files(files)
        expect(page.locator("#cards .mattered")).to_have_count(len(files))
        expect(page.locator("#cards .verdict strong")).to_have_text(pictures_of_shapes.NAMES)
        page.wait_for_timeout(500)
        save("page_pictures", page.screenshot(full_page=True))


def stroke(page: Page) -> None:
    """Draw the three with the mouse."""
    box = page.locator("#sheet").bounding_box()
    assert box is not None
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in THREE]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point)
    page.mouse.up()


@contextmanager
def serving(model: str) -> Iterator[str]:
    """The address of ``tinycnn serve`` with this model, until the block ends."""
    command = [sys.executable, "-m", "tinycnn", "serve", model, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http\S+", server.stdout.readline())
            assert found is not None
            yield found.group()
        finally:
            server.terminate()


def main(model: str, *wanted: str) -> None:
    """Draw the pictures of the ``wanted`` pages, by default of all."""
    wanted = wanted or ("walk", "page", "pictures")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        if "walk" in wanted:
            walk = Path(folder) / "walk.html"
            walk.write_text(recorded_walk.html(), encoding="utf-8")
            draw_walk(browser, walk.as_uri())
        if "page" in wanted:
            with serving(model) as address:
                draw_page(browser, address)
        if "pictures" in wanted:
            draw_pictures(browser, Path(folder))
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
