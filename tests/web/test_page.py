"""The page in a real browser: the tests draw strokes with mouse, finger and keys, and check what the page shows.

Needs Chromium (Debian: apt install chromium) and Playwright; skips with the reason where either is missing.
"""

import shutil

import pytest

import tinycnn
from tests.support.web_helpers import reader, serving, small_model

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested with: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt install chromium")

QUIET = ["disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update"]
ONE = [(0.5, 0.15), (0.5, 0.85)]
SEVEN = [(0.25, 0.2), (0.75, 0.2), (0.45, 0.85)]
ZERO = [(0.5, 0.15), (0.32, 0.3), (0.3, 0.6), (0.42, 0.82), (0.58, 0.82), (0.7, 0.6), (0.68, 0.3), (0.5, 0.15)]
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with tinycnn.use_backend("numba"):
        model = reader()
    with serving(model, tmp_path_factory.mktemp("page")) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-sync", *(f"--{flag}" for flag in QUIET)]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=60_000)
        yield chromium
        chromium.close()


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(request, browser, url):
    """A fresh page; the test fails if the browser reported a problem, with the Content-Security-Policy for example."""
    context = browser.new_context(**request.param)
    problems = []
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(url)
    wait_until_ready(page)
    yield page
    context.close()
    assert problems == []


def on_the_sheet(page, point):
    box = page.locator("#sheet").bounding_box()
    return box["x"] + point[0] * box["width"], box["y"] + point[1] * box["height"]


def draw(page, points, lift=True):
    """One stroke with the mouse."""
    page.mouse.move(*on_the_sheet(page, points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*on_the_sheet(page, point), steps=6)
    if lift:
        page.mouse.up()


def digit(page):
    return page.locator("#digit").inner_text()


def wait_for(page, wanted):
    sync_api.expect(page.locator("#digit")).to_have_text(wanted, timeout=30_000)


def wait_until_ready(page):
    sync_api.expect(page.locator("#bars li")).to_have_count(10, timeout=30_000)


def wait_until(page, condition):
    """Poll ``condition()`` for 30 s; the page's security policy forbids Playwright's own waiting, which uses eval."""
    for _ in range(600):
        if condition():
            return
        page.wait_for_timeout(50)
    pytest.fail("the condition was not met within 30 s")


def picture(page):
    """The picture that the network got last."""
    return page.locator("#seen").evaluate("canvas => canvas.toDataURL()")


def is_blank(page, canvas):
    """Whether all pixels of a canvas have the same colour."""
    script = """id => {
        const canvas = document.getElementById(id);
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return new Set(new Uint32Array(data.buffer)).size === 1;
    }"""
    return page.evaluate(script, canvas)


@pytest.mark.parametrize(("points", "wanted"), [(ONE, "1"), (SEVEN, "7"), (ZERO, "0")], ids=["1", "7", "0"])
def test_a_drawn_digit_is_read(page, points, wanted):
    assert digit(page) == "?"
    draw(page, points)
    wait_for(page, wanted)
    shares = page.locator("#bars .share").all_inner_texts()
    assert len(shares) == 10
    assert sum(float(share.strip("<> %")) for share in shares) == pytest.approx(100, abs=1)
    assert page.locator("#bars .best .name").inner_text() == wanted
    page.wait_for_selector(".layer canvas")
    assert page.locator(".layer h3").all_inner_texts() == [
        "conv2d_1 + relu_1 16 maps of 26×26",
        "maxpool2d_1 16 maps of 13×13",
        "conv2d_2 + relu_2 16 maps of 11×11",
        "maxpool2d_2 16 maps of 5×5",
        "dense_1 10 numbers",
    ]
    assert not is_blank(page, "seen")
    assert not is_blank(page, "saliency")
    assert page.locator("#colours").inner_text().startswith("Blue where the pixel, as bright as it is, raises")
    page.select_option("#method", label="Grad-CAM")
    assert page.locator("#colours").inner_text().endswith("raise the score; nothing is shown against it.")
    wait_until(page, lambda: page.locator("#spoken").inner_text().startswith(wanted))


def test_the_prediction_updates_while_the_pen_is_down(page):
    draw(page, SEVEN[:2], lift=False)
    wait_until(page, lambda: digit(page) != "?")
    first = page.locator("#bars").inner_text()
    draw(page, SEVEN[1:], lift=False)
    wait_until(page, lambda: page.locator("#bars").inner_text() != first)
    page.mouse.up()
    wait_for(page, "7")


def test_a_drawing_that_has_no_answer_yet_is_not_called_nothing(page):
    held = []
    page.route("**/predict*", lambda route: held.append(route))  # the answer does not come
    draw(page, SEVEN)
    wait_until(page, lambda: page.locator("#confidence").inner_text() == "reading …")
    held[0].continue_()
    wait_until(page, lambda: digit(page) != "?")
    assert page.locator("#confidence").inner_text().endswith("%")
    page.unroute_all(behavior="ignoreErrors")


def test_undo_and_clear(page):
    undo, clear = page.locator("#undo"), page.locator("#clear")
    assert undo.is_disabled()
    assert clear.is_disabled()
    draw(page, ONE)
    wait_for(page, "1")
    page.wait_for_selector("#bars[aria-busy=false]")
    seen = picture(page)
    draw(page, [(0.1, 0.9), (0.9, 0.9)])
    wait_until(page, lambda: picture(page) != seen)
    undo.click()
    wait_until(page, lambda: picture(page) == seen)
    clear.click()
    wait_for(page, "?")
    assert page.locator("#confidence").inner_text() == "Nothing drawn yet"
    assert page.locator("#invitation").is_visible()
    assert page.locator(".layer").count() == 0
    assert is_blank(page, "seen")
    assert clear.is_disabled()


def test_a_second_finger_can_undo_the_stroke_of_the_first(page):
    """The rest of the stroke is not drawn; an error would fail the fixture."""
    page.mouse.move(*on_the_sheet(page, (0.3, 0.3)))
    page.mouse.down()
    page.mouse.move(*on_the_sheet(page, (0.5, 0.5)))
    page.evaluate("document.getElementById('undo').click()")
    page.mouse.move(*on_the_sheet(page, (0.7, 0.7)))
    page.mouse.up()
    assert page.locator("#undo").is_disabled()
    wait_until(page, lambda: page.locator("#digit").inner_text() == "?")


def test_the_keyboard_can_draw(page):
    page.locator("#sheet").focus()
    for key in ["ArrowUp"] * 4 + [" "] + ["ArrowDown"] * 18 + [" "]:
        page.keyboard.press(key)
    wait_for(page, "1")
    page.keyboard.press("Escape")
    wait_for(page, "?")
    assert page.locator("#invitation").is_visible()


def test_nothing_is_wider_than_the_screen(page):
    draw(page, SEVEN)
    page.wait_for_selector(".layer canvas")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_touch_draws_and_does_not_scroll(browser, url):
    context = browser.new_context(**PHONE)
    page = context.new_page()
    page.goto(url)
    wait_until_ready(page)
    touch = context.new_cdp_session(page)

    def send(kind, points):
        places = [dict(zip("xy", on_the_sheet(page, point), strict=True)) for point in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    send("touchStart", [(0.5, 0.15)])
    for step in range(1, 15):
        send("touchMove", [(0.5, 0.15 + step * 0.05)])
    send("touchEnd", [])
    wait_for(page, "1")
    assert page.evaluate("window.scrollY") == 0
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_sufficient_in_light_and_dark(browser, url, scheme):
    context = browser.new_context(**DESKTOP, color_scheme=scheme)
    page = context.new_page()
    page.goto(url)
    draw(page, SEVEN)
    wait_for(page, "7")
    ink, sheet, text, card, dim = page.evaluate("['--ink', '--sheet', '--text', '--card', '--dim'].map(colourOf)")
    assert contrast(ink, sheet) > 7
    assert contrast(text, card) > 7
    assert contrast(dim, card) > 4.5
    context.close()


def contrast(one, other):
    """Of two colours #rrggbb, as the Web Content Accessibility Guidelines define it: from 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_a_busy_server_is_asked_again(browser, url):
    """Twice it refuses, with ``Retry-After``; meanwhile the page says that it waits, not that anything is wrong."""
    context = browser.new_context(**DESKTOP)
    page, refused = context.new_page(), []
    page.goto(url)
    wait_until_ready(page)
    page.evaluate("Math.random = () => 0")  # the shortest waits
    busy = {"status": 503, "headers": {"Retry-After": "1"}, "json": {"error": "busy"}}
    page.route("**/predict*", lambda route: (refused.append(1), route.fulfill(**busy)))
    draw(page, SEVEN)
    page.wait_for_selector("#waiting:not([hidden])")
    wait_until(page, lambda: len(refused) == 2)
    assert page.locator("#trouble").is_hidden()
    page.unroute("**/predict*")
    wait_until(page, lambda: digit(page) != "?" and page.locator("#waiting").is_hidden())
    context.close()


PATIENCE = """async () => {
    const later = window.setTimeout, waits = [];
    window.setTimeout = (done, wait) => (waits.push(wait), later(done, 0));
    Math.random = () => 0.5;
    const response = await patientFetch("model");
    window.setTimeout = later;
    return [response.status, waits];
}"""


@pytest.mark.parametrize(("after", "asked", "waits"), [("2", 6, [2000, 4000, 6000, 8000, 10000]), (None, 1, [])])
def test_a_server_that_stays_busy_is_asked_six_times_in_growing_intervals(browser, url, after, asked, waits):
    """Each wait is a multiple of ``Retry-After``, times a random factor; without this header there is no second try."""
    context = browser.new_context(**DESKTOP)
    page, refused = context.new_page(), []
    page.goto(url)
    wait_until_ready(page)
    busy = {"status": 503, "headers": {"Retry-After": after} if after else {}, "json": {"error": "busy"}}
    page.route("**/model", lambda route: (refused.append(1), route.fulfill(**busy)))
    assert page.evaluate(PATIENCE) == [503, [1500, *waits]]  # the first: after 1.5 s, the page says that it waits
    assert len(refused) == asked
    assert page.locator("#waiting").is_hidden()
    context.close()


def luminance(colour):
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_a_stopped_server_is_reported(browser, tmp_path):
    context = browser.new_context(**DESKTOP)
    page = context.new_page()
    with serving(small_model(), tmp_path) as url:
        page.goto(url)
        wait_until_ready(page)
    draw(page, ONE)
    page.wait_for_selector("#trouble:not([hidden])")
    assert "does not answer" in page.locator("#trouble").inner_text()
    context.close()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_uses_the_class_names_of_other_networks(browser, tmp_path, size):
    model = small_model()
    model.class_names = ["T-shirt/top", "Trouser", *(f"a rather long name, number {k}" for k in range(8))]
    model.pictures = "drawing"
    with serving(model, tmp_path) as address:
        context = browser.new_context(**size)
        page = context.new_page()
        page.goto(address)
        wait_until_ready(page)
        assert page.locator("#bars .name").all_inner_texts() == list(model.class_names)
        assert "digit" not in page.locator("body").inner_text().lower()
        draw(page, SEVEN)
        wait_until(page, lambda: digit(page) in model.class_names)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")  # nothing sticks out
        context.close()
