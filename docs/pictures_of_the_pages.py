"""Draw the pictures of the two pages of ``tinycnn serve`` into docs/pictures, with few colours to keep the files small.

python docs/pictures_of_the_pages.py runs/keras_cnn/model.safetensors

The model file is for the page for drawing; the walk is that of docs/walk. Needs Chromium, and: pip install playwright
"""

import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
import recorded_walk

FOLDER, COLOURS = Path(__file__).parent / "pictures", 128
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
THREE = [(0.33, 0.2), (0.5, 0.14), (0.66, 0.24), (0.62, 0.4), (0.48, 0.48), (0.66, 0.58), (0.66, 0.76), (0.46, 0.86)]
THREE += [(0.28, 0.74)]


def save(name: str, picture: bytes) -> None:
    """Write a screenshot as docs/pictures/NAME.png."""
    few = Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(FOLDER / f"{name}.png", optimize=True)


def draw_walk(browser: Browser, address: str) -> None:
    """The way back through the first convolution, on a desktop and a phone, in both colour schemes."""
    for device, size in {"": DESKTOP, "_phone": PHONE}.items():
        for scheme, suffix in {"light": "", "dark": "_dark"}.items():
            context = browser.new_context(**size, color_scheme=scheme)  # type: ignore[arg-type]
            page = context.new_page()
            page.goto(f"{address}#layer=conv2d_1")
            page.wait_for_selector("#walk:not([hidden])")
            page.evaluate("document.querySelector('.way').scrollIntoView()")
            page.wait_for_timeout(500)
            save(f"walk{device}{suffix}", page.screenshot())
            context.close()


def draw_page(browser: Browser, address: str) -> None:
    """A drawn three, read by the network."""
    for scheme, suffix in {"light": "", "dark": "_dark"}.items():
        context = browser.new_context(**DESKTOP, color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(address)
        page.locator("#bars li").first.wait_for()
        stroke(page)
        page.wait_for_function("document.getElementById('digit').innerText === '3'")
        page.wait_for_timeout(1000)
        save(f"page{suffix}", page.screenshot())
        context.close()


def stroke(page: Page) -> None:
    """Draw the three with the mouse."""
    box = page.locator("#sheet").bounding_box()
    assert box is not None
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in THREE]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()


@contextmanager
def serving(model: str) -> Iterator[str]:
    """The address of ``tinycnn serve`` with this model, until the block ends."""
    command = [sys.executable, "-m", "tinycnn", "serve", model, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"http\S+", server.stdout.readline())
        assert found is not None
        yield found.group()
        server.terminate()


def main(model: str) -> None:
    """Draw all of them."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        walk = Path(folder) / "walk.html"
        walk.write_text(recorded_walk.html(), encoding="utf-8")
        draw_walk(browser, walk.as_uri())
        with serving(model) as address:
            draw_page(browser, address)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
