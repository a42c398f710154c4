"""The page for pictures in a real browser: chosen, dropped, pasted; what is sent, and what the page shows.

Needs Chromium and Playwright, as test_page.py does.
"""

import base64
import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.support.web_helpers import serving
from tinycnn import data
from tinycnn.explain.saliency import COLOURS
from tinycnn.layers import Conv2d, Dense, Flatten, ReLU, Sequential
from tinycnn.train.predicting import predictions

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested with: pip install playwright")

from tests.web.test_page import CHROMIUM, DESKTOP, PHONE, browser  # noqa: E402, F401

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt install chromium")
NAMES = ["circle", "square", "triangle"]
URL = "canvas => canvas.toDataURL()"


def network():
    model = Sequential(Conv2d(4), ReLU(), Flatten(), Dense(3), input_shape=(12, 16, 3))
    model.class_names, model.pictures = NAMES, "whole"
    return model


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serving(network(), tmp_path_factory.mktemp("pictures")) as url:
        yield url


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(request, browser, url):  # noqa: F811
    """A fresh page; the test fails if the browser reported a problem, with the Content-Security-Policy for example."""
    context = browser.new_context(**request.param)
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(url)
    sync_api.expect(page.locator("#about")).to_contain_text("chooses one of 3 classes (circle, square, triangle)")
    yield page
    context.close()
    assert [problem for problem in problems if "status of 400" not in problem] == []


def picture(kind="PNG", size=(64, 48), noise=False, exif=None):
    """A file for ``set_input_files``: a gradient in colour, or noise, which no format makes small."""
    if noise:
        pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    else:
        across, down = np.linspace(0, 255, size[0]), np.linspace(255, 0, size[1])[:, np.newaxis]
        pixels = np.stack(np.broadcast_arrays(across, down, (across + down) / 2), axis=2).astype(np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind, **({} if exif is None else {"exif": exif}))
    return {"name": f"picture.{kind.lower()}", "mimeType": f"image/{kind.lower()}", "buffer": stream.getvalue()}


def choose(page, *files):
    """Choose files, and wait until all of them are shown."""
    page.set_input_files("#files", list(files))
    wait_until_read(page, len(files))


def wait_until_read(page, count):
    sync_api.expect(page.locator("#cards > li")).to_have_count(count, timeout=30_000)
    sync_api.expect(page.locator("#cards")).to_have_attribute("aria-busy", "false", timeout=30_000)


def expected(file):
    """The probabilities of `tinycnn predict` for a file."""
    model = network()
    return predictions(model, data.load_picture(file["buffer"], model))[0]


def shown(card):
    """The probabilities on a card, in percent."""
    return [float(share.strip("<> %")) for share in card.locator(".bars .share").all_inner_texts()]


def test_several_pictures_are_read_in_their_order(page):
    text = {"name": "notes.png", "mimeType": "image/png", "buffer": b"shopping list: milk"}
    misnamed = picture("JPEG") | {"name": "misnamed.png", "mimeType": "image/png"}
    whole = picture()
    broken = whole | {"name": "broken.png", "buffer": whole["buffer"][:200]}
    choose(page, whole, text, misnamed, broken)
    cards = page.locator("#cards > li")
    assert cards.locator("h3").all_inner_texts() == ["picture.png", "notes.png", "misnamed.png", "broken.png"]
    for number, file in ((0, whole), (2, misnamed)):
        card, wanted = cards.nth(number), expected(file)
        assert shown(card) == pytest.approx(100 * wanted, abs=0.051)
        assert card.locator(".verdict strong").inner_text() == NAMES[int(wanted.argmax())]
        assert card.locator(".bars .best .name").inner_text() == NAMES[int(wanted.argmax())]
        assert "What the network gets: 16×12" in card.inner_text()
        assert "sent as" not in card.inner_text()
    assert "Not a picture that can be read here" in cards.nth(1).inner_text()
    assert "The picture: the image in it is damaged" in cards.nth(3).inner_text()
    assert page.locator("#spoken").text_content() == "2 pictures read, 2 could not be read."
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator("label[for=camera]").is_visible() == page.evaluate("matchMedia('(pointer: coarse)').matches")
    page.locator("#clear").click()
    sync_api.expect(page.locator("#none")).to_be_visible()
    assert cards.count() == 0


def test_the_picture_and_what_mattered_are_painted(page):
    file = picture()
    choose(page, file)
    seen = Image.open(BytesIO(base64.b64decode(page.locator(".seen").evaluate(URL).partition(",")[2])))
    assert np.array_equal(np.asarray(seen.convert("RGB")), data.load_picture(file["buffer"], network())[0])
    maps, legends = [], []
    assert page.locator("#method").input_value() == "Grad-CAM"
    for method in page.locator("#method option").all_inner_texts():
        page.select_option("#method", label=method)
        maps.append(page.locator(".mattered").evaluate(URL))
        legends.append(page.locator("#legend").inner_text().removesuffix(" The strongest has the full colour."))
    assert len(set(maps)) == len(maps) == 4
    names = ["Grad-CAM", "input × gradient", "SmoothGrad", "gradient"]
    assert legends == [f"{COLOURS[name][0].upper() + COLOURS[name][1:]}." for name in names]
    assert page.locator("#legend .against").inner_text() == "orange"


def test_pictures_are_dropped_and_pasted(browser, url):  # noqa: F811
    page = browser.new_context(**DESKTOP).new_page()
    page.goto(url)
    script = """([kind, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], `${kind}.png`, { type: "image/png" }));
        const options = { bubbles: true, cancelable: true };
        if (kind === "paste") document.dispatchEvent(new ClipboardEvent(kind, { ...options, clipboardData: data }));
        else document.body.dispatchEvent(new DragEvent(kind, { ...options, dataTransfer: data }));
    }"""
    for count, kind in enumerate(("drop", "paste"), start=1):
        page.evaluate(script, [kind, list(picture()["buffer"])])
        wait_until_read(page, count)
    assert page.locator("#cards h3").all_inner_texts() == ["paste.png", "drop.png"]  # the latest is above
    assert all(shown(page.locator("#cards > li").nth(k)) for k in range(2))
    page.evaluate("document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: new DataTransfer() }))")
    assert "save the picture as a file first" in page.locator("#trouble").inner_text()
    page.context.close()


def test_a_photograph_that_is_too_large_for_a_request_is_made_smaller(browser, url):  # noqa: F811
    """Rotated as its file states, so the prediction is that of the file, up to what the second JPEG changes."""
    page = browser.new_context(**DESKTOP).new_page()
    page.goto(url)
    exif = Image.Exif()
    exif[274] = 6
    large = picture("JPEG", size=(2400, 1700), exif=exif)  # of too many pixels
    heavy = picture("PNG", size=(700, 510), noise=True)  # of too many bytes
    choose(page, large, heavy)
    cards = page.locator("#cards > li")
    assert "1,700 × 2,400 pixels, sent as a JPEG of 1,683 × 2,376" in cards.nth(0).inner_text()
    assert "700 × 510 pixels, sent as a JPEG of 700 × 510" in cards.nth(1).inner_text()
    for card, file in ((cards.nth(0), large), (cards.nth(1), heavy)):
        assert shown(card) == pytest.approx(100 * expected(file), abs=1)
    page.context.close()


MODEL = {"input_shape": [2, 2, 1], "parameters": 7, "most_bytes": 1 << 20, "most_pixels": 4_000_000}
ANSWER = {"answer": None, "picture": {"shape": [2, 2, 1], "pixels": "AED//w=="}, "explained": None, "saliencies": []}
MANY = [f"a rather long name, number {k}" for k in range(30)]
SHARES = [0.71 if k == 7 else 0.01 for k in range(30)]
TEN = [f"{MANY[7]}71.0 %", *(f"{MANY[k]}1.0 %" for k in range(10) if k != 7)]
OTHERS = {
    "labels": (
        {"outputs": "labels", "class_names": ["red", "round"], "probabilities": [0.9, 0.6], "numbers": None},
        ("red, round", ["red90.0 %", "round60.0 %"], "a probability for each of 2 labels by itself (red, round)"),
    ),
    "many labels": (
        {"outputs": "labels", "class_names": MANY, "probabilities": [*SHARES[:8], 0.9, *SHARES[9:]], "numbers": None},
        (
            f"{MANY[8]}, {MANY[7]}",
            [f"{MANY[8]}90.0 %", *TEN[:8], TEN[9], "and 20 more, each at most 1.0 %"],
            "30 labels",
        ),
    ),
    "no label": (
        {"outputs": "labels", "class_names": ["red", "round"], "probabilities": [0.4, 0.3], "numbers": None},
        ("none", ["red40.0 %", "round30.0 %"], "a probability for each of 2 labels by itself (red, round)"),
    ),
    "a number": (
        {"outputs": "numbers", "class_names": ["number"], "probabilities": None, "numbers": [-3.14159265]},
        ("-3.14159", ["number-3.14159"], "in grey, and returns a number."),
    ),
    "many classes": (
        {"outputs": "classes", "class_names": MANY, "answer": MANY[7], "probabilities": SHARES, "numbers": None},
        (MANY[7], [*TEN, "and 20 more, each at most 1.0 %"], f"one of 30 classes ({MANY[0]}, {MANY[1]} and 28 more)"),
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_labels_numbers_and_many_classes_are_shown_as_such(browser, url, kind):  # noqa: F811
    answer, (words, rows, about) = OTHERS[kind]
    context = browser.new_context(**PHONE)
    page = context.new_page()
    page.route("**/model", lambda route: route.fulfill(body=json.dumps(MODEL | answer)))
    page.route("**/predict*", lambda route: route.fulfill(body=json.dumps(ANSWER | answer)))
    page.goto(url)
    choose(page, picture())
    assert page.locator(".verdict strong").inner_text() == words
    assert [row.replace("\n", "") for row in page.locator(".bars li").all_text_contents()] == rows
    assert about in page.locator("#about").inner_text()
    assert page.locator(".mattered").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    context.close()


def test_a_server_that_does_not_answer_is_reported(browser, url):  # noqa: F811
    page = browser.new_context(**DESKTOP).new_page()
    page.goto(url)
    page.route("**/predict*", lambda route: route.abort())
    choose(page, picture())
    assert "The server does not answer" in page.locator("#cards").inner_text()
    page.context.close()


def test_no_more_than_a_hundred_pictures_are_shown_the_latest_first(browser, url):  # noqa: F811
    page = browser.new_context(**DESKTOP).new_page()
    page.goto(url)
    files = [{"name": f"{number}.txt", "mimeType": "image/png", "buffer": b"text"} for number in range(101)]
    page.set_input_files("#files", files)
    wait_until_read(page, 100)
    assert page.locator("#trouble").inner_text().startswith("Only the first 100 of 101 pictures are read here")
    page.set_input_files("#files", [files[0] | {"name": "last.txt"}])
    wait_until_read(page, 100)
    names = page.locator("#cards h3").all_inner_texts()
    assert (names[0], names[1], names[-1]) == ("last.txt", "0.txt", "98.txt")
    assert page.locator("#trouble").is_hidden()
    page.context.close()
