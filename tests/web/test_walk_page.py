"""The walk in a real browser: every number shown is the engine's, and one step of the page is one step of ``optim``.

Needs Chromium and Playwright, as ``test_page.py`` does. ``TINYCNN_WALK_POINTS=300`` compares 300 points of each array,
and those of the published networks.
"""

import os
import re

import numpy as np
import pytest

from tests.support.web_helpers import serving
from tests.web.test_page import DESKTOP, PHONE, browser, contrast, draw, sync_api, wait_until  # noqa: F401
from tests.web.test_page import pytestmark as needs_chromium
from tinycnn import explain, models
from tinycnn.explain import trace_step
from tinycnn.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU, Sequential, Softmax
from tinycnn.web.sample_images import fitting_data
from tinycnn.web.walk import walk_html

pytestmark = needs_chromium
POINTS = int(os.environ.get("TINYCNN_WALK_POINTS", "0"))
IMAGE = np.random.default_rng(1).integers(0, 256, (28, 28, 1), np.uint8)
SHOWN = """([layer, quantity, index]) => {
    const step = Walk.trace.layers.find((one) => one.name === layer);
    Walk.select({ layer: step, quantity, index });
    return [...document.querySelectorAll("#sum-body tbody tr")].map((row) => row.innerText);
}"""

ADDED_UP = """([layer, quantity, indices]) => {
    const step = Walk.trace.layers.find((one) => one.name === layer);
    return indices.map((index) => Sums.explain(step, quantity, index).total);
}"""


def number(text):
    """``−1.5·10⁻³`` → -0.0015."""
    plain = (
        text.strip("()").replace("−", "-").translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")).replace("·10", "e")
    )
    return float(plain)


def quantities(trace):
    """Every array that the page writes out as sums: layer, quantity, numbers."""
    for layer in trace.layers:
        yield layer.name, "y", layer.y
        yield layer.name, "grad_x", layer.grad_x
        for name, grad in layer.grad_parameters.items():
            yield layer.name, f"{name}.grad", grad


def opened(browser, path, **size):  # noqa: F811
    context = browser.new_context(**(size or DESKTOP))
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(path)
    page.wait_for_selector("#walk:not([hidden])")
    return page, problems


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The walk of a network by name, as the address of a file, and its trace."""
    folder = tmp_path_factory.mktemp("walks")

    def write(name, training=False):
        model = models.create(name, dtype=np.float64) if name != "small" else small()
        path = folder / f"{name}{training}.html"
        if not path.exists():
            path.write_text(walk_html(model, IMAGE, 3, training=training), encoding="utf-8")
        return path.as_uri(), trace_step(model, IMAGE, 3, training=training)

    return write


def small():
    layers = [Conv2d(4), ReLU(), BatchNorm(), MaxPool2d(), Flatten(), Dropout(0.5), Dense(10), Softmax()]
    return Sequential(*layers, input_shape=(28, 28, 1))


PUBLISHED = [("lenet", False), ("keras_cnn", False), ("batchnorm_cnn", False), ("batchnorm_cnn", True)]


def drawn(array, count):
    """Random indices of an array, all of them if it has fewer."""
    positions = np.random.default_rng(0).choice(array.size, size=min(count, array.size), replace=False)
    return [[int(i) for i in np.unravel_index(position, array.shape)] for position in positions]


@pytest.mark.parametrize(("name", "training"), [("small", True), *(PUBLISHED if POINTS else [])])
def test_every_number_shown_is_the_engine_s(browser, files, name, training):  # noqa: F811
    path, trace = files(name, training)
    page, problems = opened(browser, path)
    compared = 0
    for layer, quantity, array in quantities(trace):
        near = 1e-6 if array.dtype == np.float32 else 1e-12  # sums that cancel, as that of a bias before batch norm
        near = max(near * float(np.abs(array).max()), 1e-13)
        indices = drawn(array, POINTS or 20)
        added = page.evaluate(ADDED_UP, [layer, quantity, indices])
        for index, total in zip(indices, added, strict=True):
            assert total == pytest.approx(float(array[tuple(index)]), rel=1e-5, abs=near), (layer, quantity, index)
        for index in drawn(array, 2):
            rows = page.evaluate(SHOWN, [layer, quantity, index])
            total, engine = (number(rows[i].split("\t")[-1]) for i in (-2, -1))
            assert total == pytest.approx(float(array[tuple(index)]), rel=1e-5, abs=near), (layer, quantity, index)
            assert engine == pytest.approx(float(array[tuple(index)]), rel=1e-5, abs=1e-300)
            assert "✓" in rows[-1]
            summands = [number(row.split("\t")[-1]) for row in rows[:-2]]
            if "largest" not in rows[-2]:
                assert sum(summands) == pytest.approx(total, rel=1e-3, abs=2e-4 * np.abs(summands).max() + near)
        compared += len(indices)
    assert compared > 200
    print(f"{name}: {compared:,} sums compared")
    assert problems == []
    page.context.close()


def test_a_walk_from_the_loss_to_the_picture_and_back(browser, files):  # noqa: F811
    path, trace = files("small")
    page, problems = opened(browser, f"{path}#loss")
    title = page.locator("#step-title")
    assert title.inner_text() == "The loss"
    assert f"{trace.loss:.2f}"[:4] in page.locator("#step-text").inner_text()
    assert page.locator(".bars tr").count() == 11
    assert (
        "The label, 3, which is the answer that the network should give, gets p =" in page.locator("body").inner_text()
    )
    assert "true class" not in page.locator(".stage > section").first.inner_text()  # it may be a wrong one, on purpose
    for layer in reversed(trace.layers):
        page.keyboard.press("ArrowRight")
        assert title.inner_text() == f"{layer.name}, back"
    assert page.locator("#next").is_disabled()
    assert page.evaluate("location.hash").startswith("#layer=conv2d_1&pass=backward")
    page.locator("#track button[aria-label='maxpool2d_1, forward']").click()
    assert title.inner_text() == "maxpool2d_1, forward"
    page.goto(f"{path}#layer=maxpool2d_1&pass=backward&of=grad_x&at=0,0,0")
    assert "row 0, column 0, map 0" in page.locator("#sum-body").inner_text()
    link = page.locator("#sum-body table button.link").first
    link.click()
    assert title.inner_text() == "flatten_1, back"
    page.go_back()
    assert title.inner_text() == "maxpool2d_1, back"
    assert "row 0, column 0, map 0" in page.locator("#sum-body").inner_text()
    page.goto(f"{path}#layer=conv2d_1")
    canvas = page.locator(".panel", has_text="Gradient of weight").locator("canvas.map")
    canvas.focus()
    page.keyboard.press("ArrowDown")
    first = page.locator("#sum-body .lead").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#sum-body .lead").inner_text() != first
    assert title.inner_text() == "conv2d_1, back"  # the keys belong to the picture
    assert page.locator(".code .marked").count() >= 1
    assert problems == []
    page.context.close()


HELD = """() => JSON.parse(document.getElementById("trace-extras").textContent).checks
    .filter(({ name }) => name === "conv2d_1.weight").map(({ index }) => index)"""


PROMISE = r"the loss changes by −rate × Σ g² = .* = (\S+)\. It went from (\S+) to (\S+), so it changed by (\S+)\."


def test_checks_and_steps_of_a_file(browser, files):  # noqa: F811
    path, trace = files("small")
    page, problems = opened(browser, f"{path}#layer=conv2d_1&pass=backward&of=weight.grad&at=0,0,0,0")
    held = page.evaluate(HELD)
    absent = next([k // 12, k // 4 % 3, 0, k % 4] for k in range(36) if [k // 12, k // 4 % 3, 0, k % 4] not in held)
    page.goto(f"{path}#layer=conv2d_1&of=weight.grad&at={','.join(map(str, absent))}")
    check = page.get_by_role("button", name="Check this number")
    assert check.is_disabled()
    assert "This number is not among them" in page.locator("#sum-body").inner_text()
    page.get_by_role("button", name="Go to the nearest number that was checked").click()
    found = page.evaluate("Walk.chosen.index")
    assert found in held
    assert found[3] == absent[3] or all(one[3] != absent[3] for one in held)  # of the same filter, if there is one
    assert check.is_enabled()
    check.click()
    verdict = page.locator(".result > :first-child")
    assert "backpropagation is right about this number" in verdict.inner_text()
    assert 0 < verdict.bounding_box()["y"] < DESKTOP["viewport"]["height"] - 30
    assert (
        "dark corner: this file holds its check" in page.locator(".panel", has_text="Gradient of weight").inner_text()
    )
    page.locator("#one").click()
    said = page.locator("#practised").inner_text()
    assert "still shows the numbers before the first step" in said
    assert_written_out(said, page.locator("#practised table").nth(2).locator("tr").all_inner_texts())
    promised, before, after, changed = map(number, re.search(PROMISE, said).groups())
    squares = sum(float((grad**2).sum()) for layer in trace.layers for grad in layer.grad_parameters.values())
    assert promised == pytest.approx(-0.001 * squares, rel=1e-3)
    assert (before, after) == pytest.approx(explain.practise(small(), IMAGE, 3, steps=1, lr=0.001).losses, abs=1e-4)
    assert changed == pytest.approx(after - before, abs=2e-4)
    assert changed == pytest.approx(promised, rel=0.1)  # the rate is small
    assert f"That is {abs(changed / promised - 1):.0%} off".replace("%", " %") in said
    page.locator("#ten").click()
    assert "after 11 steps" in page.locator("#practised table").nth(2).inner_text()
    assert "do not explain the whole change" in page.locator("#practised").inner_text()
    rows = page.locator("#practised table").first.locator("tr")
    assert rows.count() == 13
    expected = explain.practise(small(), IMAGE, 3, steps=11, lr=0.001).losses
    shown = [number(row.split("\t")[1]) for row in rows.all_inner_texts()[1:]]
    assert shown == pytest.approx(expected, rel=1e-3)
    assert page.locator("#one").is_disabled()
    assert page.locator("#ten").is_disabled()
    assert "all 11 steps that this file holds" in page.locator("#practised").inner_text()
    page.locator("#optimizer").select_option("adam")  # the steps of another optimizer begin anew
    assert page.locator("#practised table").count() == 0
    said = page.locator("#practised").inner_text()
    assert "so the steps start again. For comparison: 11 steps of sgd with the rate 0.001" in said
    page.locator("#one").click()
    page.locator("#one").click()
    assert page.locator("#ten").inner_text() == "9 more"
    assert "This file holds 9 more steps" in page.locator("#practised").inner_text()
    page.locator("#ten").click()
    assert "These are all 11 steps that this file holds" in page.locator("#practised").inner_text()
    assert "bias of conv2d_1, filter " in page.evaluate("Walk.nameOfWeight({ name: 'conv2d_1.bias', index: [2] })")
    page.locator("#reset").click()
    page.locator("#one").click()
    assert "moves by about the rate" in page.locator("#practised").inner_text()
    page.locator("#reset").click()
    assert page.locator("#practised table").count() == 0
    assert "For comparison" not in page.locator("#practised").inner_text()
    page.locator("#optimizer").select_option("sgd")
    page.locator("#rate").select_option("0.1")
    page.locator("#one").click()
    said = page.locator("#practised").inner_text()
    promised, _, _, changed = map(number, re.search(PROMISE, said).groups())
    assert changed != pytest.approx(promised, rel=0.1)
    assert f"That is {abs(changed / promised - 1):.0%} off".replace("%", " %") in said
    page.locator("#optimizer").select_option("adam")
    for rate, losses, words in (
        ("0.1", [2.0, 0.01], "knows this one picture by heart"),
        ("0.1", [0.01, 0.001], "was almost nothing to learn from it. To see large gradients, choose a picture"),
        ("0.01", [2.0, 3.0], "rate is too large"),
    ):
        page.evaluate(LOSSES, [rate, losses])
        assert words in page.locator("#practised").inner_text()
    assert problems == []
    page.context.close()


def test_the_mouse_that_passes_changes_no_map(browser, files):  # noqa: F811
    path, _ = files("small")
    page, problems = opened(browser, f"{path}#layer=conv2d_1&of=weight.grad&at=0,0,0,2")
    page.keyboard.press("Escape")
    assert page.evaluate(SHOWN_MAPS) == [2, 2, 2]
    canvas, said = (
        page.locator(".panel", has_text="Gradient of the picture").locator("canvas.map"),
        page.locator("#sum-body .lead"),
    )
    for x in range(60, 300, 40):
        canvas.hover(position={"x": x, "y": x})
        assert "Gradient of the pixel" in said.first.inner_text()
        assert page.evaluate(SHOWN_MAPS) == [2, 2, 2]
    rows = page.locator("#sum-body tbody tr")
    rows.nth(0).hover()
    assert page.evaluate(SHOWN_MAPS) == [2, 2, 2]
    rows.nth(0).locator("td").nth(0).click()  # a click turns the pictures to the numbers of the row
    assert page.evaluate(SHOWN_MAPS)[0] == int(rows.nth(0).inner_text().split("\t")[0].split(", ")[2])
    page.locator("#sum").hover(position={"x": 5, "y": 5})
    canvas.scroll_into_view_if_needed()
    heading, bar = page.locator("#sum-title").bounding_box(), page.locator(".way").bounding_box()
    assert heading["y"] >= bar["y"] + bar["height"]  # which number it is stays in sight
    assert problems == []
    page.context.close()


def test_the_way_back_and_the_keys(browser, files):  # noqa: F811
    path, trace = files("small")
    page, problems = opened(browser, f"{path}#layer=maxpool2d_1&of=grad_x&at=0,0,0")
    assert page.locator("#return").is_hidden()
    page.locator("#sum-body table button.link").first.click()
    page.locator("#return").click()
    wait_until(page, lambda: page.locator("#step-title").inner_text() == "maxpool2d_1, back")
    assert page.locator("#return").is_hidden()
    assert "row 0, column 0, map 0" in page.locator("#sum-body").inner_text()
    page.locator("#track [aria-current]").focus()
    page.keyboard.press("ArrowRight")  # along the way, and the focus goes along
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "batchnorm_1, back"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "previous"
    canvas = page.locator("#panels canvas.map").last
    canvas.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")  # releases the number, but stays in the picture
    assert page.locator("#held").is_hidden()
    page.keyboard.press("ArrowRight")
    assert page.locator("#step-title").inner_text() == "batchnorm_1, back"
    page.evaluate(f"Walk.go({2 * len(trace.layers)})")
    page.locator("#play").click()  # at the end: from the start
    assert page.locator("#step-title").inner_text() == "conv2d_1, forward"
    page.locator("#play").click()
    assert problems == []
    page.context.close()


LOSSES = """([rate, losses]) => {
    const pick = document.getElementById("rate");
    const own = Walk.extras.practice.find(({ optimizer, lr }) => optimizer === "adam" && String(lr) === rate);
    own.losses = [...losses, ...losses];
    pick.value = rate;
    pick.dispatchEvent(new Event("change"));
    document.getElementById("one").click();
    return new Promise((done) => setTimeout(done, 50));
}"""


def assert_written_out(said, rows):
    """The numbers with the largest gradients are in order, and new = before - rate × gradient, also in a sentence."""
    assert rows[0].split("\t") == ["weight or bias", "before", "gradient before", "after the first step"]
    numbers = np.array([[number(cell) for cell in row.split("\t")[1:]] for row in rows[1:]])
    assert len(numbers) == 10
    sizes = np.abs(numbers[:, 1])
    assert (np.diff(sizes) <= 0).all()
    np.testing.assert_allclose(numbers[:, 2], numbers[:, 0] - 0.001 * numbers[:, 1], rtol=1e-4, atol=1e-6)
    before, gradient, after = (
        number(each) for each in re.search(r"out: (\S+) − 0.001 × (\S+) = (\S+), all rounded", said).groups()
    )
    assert before - 0.001 * gradient == pytest.approx(after, rel=1e-4)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_drawing_is_walked_through_on_the_page(browser, tmp_path, size):  # noqa: F811
    model = small()
    with serving(model, tmp_path) as url:
        context = browser.new_context(**size)
        page, problems = context.new_page(), []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{url}/")
        page.locator("#bars li").first.wait_for()
        draw(page, [(0.3, 0.2), (0.7, 0.2), (0.4, 0.8)])
        page.locator("#backprop").click()  # the drawing comes along
        wait_until(page, lambda: "reads" in page.locator("#verdict").inner_text())
        assert page.locator("#missing").inner_text() == "Backward needs an answer: choose one above."
        page.locator("#classes input").nth(7).check()
        assert page.locator("#missing").inner_text() == ""
        frame, button = (page.locator(place).bounding_box() for place in (".classes", "#backward"))
        assert button["y"] - frame["y"] - frame["height"] >= 8
        page.locator("#backward").click()
        page.wait_for_selector("#walk:not([hidden])")
        assert page.evaluate("Walk.trace.label") == 7
        before = page.evaluate("Walk.trace.loss")
        about = page.locator("#about").inner_text()
        page.locator("#one").click()
        wait_until(page, lambda: page.locator("#practised table").count() == 2)
        image = np.array(page.evaluate("[...Walk.trace.arrays.input.data]"), np.float32).reshape(28, 28, 1)
        done = explain.practise(model, np.rint(255 * image).astype(np.uint8), 7, steps=1, lr=0.001)
        assert before == pytest.approx(done.losses[0], rel=1e-5)
        assert page.locator("#about").inner_text().startswith("After 1 training step on it: ")
        assert page.locator("#practised").bounding_box()["y"] < size["viewport"]["height"]  # the page stays where it is
        for layer in done.trace.layers:
            for name, weight in layer.parameters.items():
                shown = page.evaluate("([a, b]) => [...Walk.trace.arrays[`${a}.${b}`].data]", [layer.name, name])
                np.testing.assert_allclose(shown, weight.ravel(), rtol=1e-6, atol=1e-8)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.locator("#reset").click()
        assert page.locator("#about").inner_text() == about
        page.evaluate("Walk.go(2 * Walk.trace.layers.length)")
        with context.expect_page() as chapter:  # beside the walk, which is not left
            page.locator("#sum-body .chapter a").click()
        assert "im2col" in chapter.value.locator("body").inner_text()
        page.get_by_role("button", name="Check this number").click()
        wait_until(page, lambda: "backpropagation is right" in page.locator("#sum-body").inner_text())
        with page.expect_download() as download:
            page.locator("#share").click()
        download.value.save_as(tmp_path / "walk.html")
        assert problems == []
        context.close()
    page, problems = opened(browser, (tmp_path / "walk.html").as_uri(), **size)
    assert re.search("label is 7", page.locator("#about").inner_text())
    assert problems == []
    page.context.close()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_another_drawing_or_answer_marks_the_walk_as_the_previous_one(browser, tmp_path, size):  # noqa: F811
    """In sight wherever the reader is, said once beside Backward; no step is taken on the picture that is gone."""
    with serving(small(), tmp_path) as url:
        context = browser.new_context(**size)
        page, problems = context.new_page(), []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{url}/backprop")
        page.locator("#classes input").first.wait_for()
        mark, missing, one = page.locator("#outdated"), page.locator("#missing"), page.locator("#one")

        def stroke(*points):
            page.evaluate("scrollTo(0, 0)")
            draw(page, points)

        def read():
            wait_until(page, lambda: "reads" in page.locator("#verdict").inner_text())

        def follow():
            page.locator("#backward").click()
            wait_until(page, mark.is_hidden)
            assert one.is_enabled()
            assert missing.inner_text() == ""
            assert "previous" not in page.locator("#about").inner_text()

        def assert_marked(why):
            wait_until(page, lambda: f"The walk below is {why}" in missing.inner_text())
            assert f"This walk is {why}" in mark.inner_text()
            assert (
                f"The walk below is {why} There: The network reads its picture" in page.locator("#about").inner_text()
            )
            assert one.is_disabled()
            assert page.locator("#ten").is_disabled()
            assert (
                f"This walk is {why} Before you take steps, press Backward." in page.locator(".practice").inner_text()
            )
            for place in ("step-title", "practice-title"):
                page.evaluate("name => document.getElementById(name).scrollIntoView()", place)
                box, title = mark.bounding_box(), page.locator(f"#{place}").bounding_box()
                assert 0 <= box["y"] < box["y"] + box["height"] <= title["y"] < size["viewport"]["height"]
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            assert mark.locator("span").evaluate("one => one.scrollWidth <= one.clientWidth")  # it is not cut off

        draw(page, [(0.3, 0.2), (0.7, 0.2), (0.4, 0.8)])
        read()
        page.locator("#classes input").nth(7).check()
        page.locator("#backward").click()
        page.wait_for_selector("#walk:not([hidden])")
        assert mark.is_hidden()
        page.locator("#clear").click()
        assert_marked("of the previous drawing.")
        assert page.locator("#classes input:checked").count() == 0  # it was chosen for the other drawing
        stroke((0.5, 0.2), (0.5, 0.8))
        read()
        wait_until(page, lambda: "Backward needs an answer" in missing.inner_text())
        assert_marked("of the previous drawing.")
        page.locator("#to-backward").click()
        assert page.evaluate("document.activeElement.id") == "sheet"  # Backward cannot be pressed yet
        page.locator("#classes input").nth(2).check()
        assert page.evaluate("Walk.trace.label") == 7
        wait_until(page, page.locator("#backward").is_enabled)  # the drawing has been read to its end
        page.locator("#to-backward").click()
        assert page.evaluate("document.activeElement.id") == "backward"
        follow()
        assert page.evaluate("Walk.trace.label") == 2
        stroke((0.3, 0.5), (0.7, 0.5))  # one more stroke: a changed drawing, whose answer stays
        assert_marked("of the previous drawing.")
        assert page.locator("#classes input:checked").input_value() == "2"
        page.locator("#undo").click()
        wait_until(page, mark.is_hidden)  # the drawing of the walk
        page.locator("#classes input").nth(4).check()
        assert_marked("for the answer 2.")
        follow()
        page.locator("#training").check()
        assert_marked("not in training mode.")
        follow()
        page.locator("#test-images button").nth(4).click()
        assert_marked("of the previous drawing.")
        assert page.locator("#classes input:checked").input_value() == "4"
        follow()
        stroke((0.3, 0.5), (0.7, 0.5))  # on the sheet of a test image: another drawing
        assert_marked("of the previous drawing.")
        assert page.locator("#classes input:checked").count() == 0
        assert problems == []
        context.close()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_link_leads_from_the_loss_and_from_a_check_to_the_training_steps(browser, files, size):  # noqa: F811
    path, _ = files("small")
    page, problems = opened(browser, f"{path}#loss", **size)
    links = page.get_by_role("button", name="Take a training step ↓")

    def assert_leads_there(link):
        box = link.bounding_box()
        assert 0 <= box["y"] < size["viewport"]["height"] - 30  # without scrolling
        link.click()
        bar, title, one = (page.locator(place).bounding_box() for place in (".way", "#practice-title", "#one"))
        assert bar["y"] + bar["height"] <= title["y"] < one["y"] < size["viewport"]["height"] - 60
        assert page.evaluate("document.activeElement.id") == "one"  # Enter takes the step

    page.evaluate("document.getElementById('walk').scrollIntoView()")  # as Backward does
    assert links.count() == 1
    assert_leads_there(links.first)
    page.keyboard.press("Enter")
    assert page.locator("#practised table").count() == 2
    page.locator("#reset").click()
    page.evaluate("Walk.go(2 * Walk.trace.layers.length)")
    assert page.locator("#to-steps").is_hidden()
    page.get_by_role("button", name="Check this number").click()
    assert_leads_there(page.locator("#sum-body").get_by_role("button", name="Take a training step ↓"))
    assert problems == []
    page.context.close()


def assert_own_number(page, parameter, old, new, gradient, how):
    """The row of the number that was checked or chosen: name, before, gradient, after, change; and what it means."""
    name, index = parameter
    said = page.locator("#practised").inner_text()
    assert f"The number that you {how} last" in said
    rows = page.locator("#practised table").nth(1).locator("tr").all_inner_texts()
    assert rows[0].rstrip("\n").split("\t")[-1] == "changed by"
    shown, *numbers = rows[1].split("\t")
    own, layer = name.split(".")[::-1]
    assert shown.startswith(f"{own} of {layer}, ")
    assert [int(i) for i in re.findall(r" (\d+)", shown)] == list(index)
    before, after = (float(dict(old)[name][index]), float(dict(new)[name][index]))
    expected = [before, float(dict(gradient)[name][index]), after, after - before]
    assert [number(one) for one in numbers] == pytest.approx(expected, rel=1e-3, abs=1e-9)
    assert re.search(f"{own} of {layer.rpartition('_')[0]}: .+\\.", said)


def parameters(trace, kind="parameters"):
    return {f"{one.name}.{name}": array for one in trace.layers for name, array in getattr(one, kind).items()}


def test_the_steps_show_the_number_that_was_checked_or_chosen(browser, files, tmp_path):  # noqa: F811
    """On the page of a server, of any number; in a file, of those with a check. Names of parameters are explained."""
    with serving(small(), tmp_path) as url:
        page = browser.new_page(**DESKTOP)
        page.goto(f"{url}/backprop")
        page.locator("#classes input").first.wait_for()
        page.locator("#examples button").nth(4).click()
        page.locator("#classes input").nth(7).check()
        page.locator("#backward").click()
        page.wait_for_selector("#walk:not([hidden])")
        page.evaluate(CHOOSE_PINNED, ["dense_1", "weight.grad", [471, 8]])
        page.locator("#one").click()
        wait_until(page, lambda: page.locator("#practised table").count() == 3)
        image = np.rint(255 * np.array(page.evaluate("[...Walk.trace.arrays.input.data]"))).astype(np.uint8)
        image = image.reshape(28, 28, 1)
        old, new = trace_step(small(), image, 7), explain.practise(small(), image, 7, steps=1, lr=0.001).trace
        numbers = parameters(old), parameters(new), parameters(old, "grad_parameters")
        assert_own_number(page, ("dense_1.weight", (471, 8)), *numbers, "chose")
        assert "weight of dense: multiplies one input, for one unit." in page.locator("#practised").inner_text()
        page.evaluate(CHOOSE_PINNED, ["batchnorm_1", "beta", [2]])
        assert_own_number(page, ("batchnorm_1.beta", (2,)), *numbers, "chose")
        assert "beta of batchnorm: shifts one map: is added to its" in page.locator("#practised").inner_text()
        page.context.close()
    path, old = files("small")
    page, problems = opened(browser, path)
    for check in page.evaluate("Walk.extras.checks"):
        if check["name"] != "input":
            layer, name = check["name"].split(".")
            page.evaluate(CHOOSE_PINNED, [layer, f"{name}.grad", check["index"]])
            break
    page.get_by_role("button", name="Check this number").click()
    page.locator("#one").click()
    for steps, button in ((1, None), (11, "#ten")):
        if button:
            page.locator(button).click()
        new = explain.practise(small(), IMAGE, 3, steps=steps, lr=0.001).trace
        numbers = parameters(old), parameters(new), parameters(old, "grad_parameters")
        assert_own_number(page, (check["name"], tuple(check["index"])), *numbers, "checked")
    held = page.evaluate("Walk.extras.checks.filter(({ name }) => name === 'dense_1.weight').map(({ index }) => index)")
    absent = next([i, 3] for i in range(500) if [i, 3] not in held)
    page.evaluate(CHOOSE_PINNED, ["dense_1", "weight.grad", absent])
    assert "how the steps moved it is not in this file" in page.locator("#practised").inner_text()
    assert problems == []
    page.context.close()


CHOOSE_PINNED = """([name, quantity, index]) => {
    const layer = Walk.trace.layers.find((one) => one.name === name);
    const step = 2 * Walk.trace.layers.length - Walk.trace.layers.indexOf(layer);
    Walk.go(step, { layer, quantity, index }, { scrolls: false });
}"""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_all_summands_can_be_opened(browser, files, tmp_path, size):  # noqa: F811
    """676 in a list that scrolls; the rows add up at every moment; of 7,744 only those that are read become rows."""
    path, trace = files("small")
    page, problems = opened(browser, f"{path}#layer=conv2d_1&of=weight.grad&at=0,2,0,1", **size)
    rows, scroller = page.locator("#sum-body .scroller tbody tr"), page.locator("#sum-body .scroller")
    few = rows.all_inner_texts()

    def values():
        return [number(row.split("\t")[-1]) for row in rows.all_inner_texts()[:-2]]

    def scroll_to_the_end():
        scroller.evaluate(
            "box => { box.scrollTop = box.scrollHeight; return new Promise((done) => setTimeout(done, 50)); }"
        )

    terms = (trace.layers[0].x[:26, 2:28, 0].astype(np.float64) * trace.layers[0].grad_y[:, :, 1]).ravel()
    page.get_by_role("button", name="Show all 676").click()
    assert "All 676 summands" in page.locator("#sum-body").inner_text()
    assert rows.count() < 300  # the page stays fast
    assert sum(values()) == pytest.approx(terms.sum(), abs=1e-3 * np.abs(terms).max())
    for _ in range(10):
        scroll_to_the_end()
    shown = values()
    assert len(shown) == 676
    np.testing.assert_allclose(sorted(shown), np.sort(terms), rtol=1e-4, atol=1e-12)
    assert (np.diff(np.abs(shown)) <= 1e-4 * np.abs(terms).max()).all()
    box, total, head = (page.locator(f"#sum-body .scroller{part}").bounding_box() for part in ("", " .total", " thead"))
    assert box["height"] <= 24 * 16 + 2
    assert box["y"] <= head["y"] < total["y"] < box["y"] + box["height"]  # both stay in sight
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    rows.nth(600).locator("td").last.click()
    assert "spot" in rows.nth(600).get_attribute("class")
    page.get_by_role("button", name="Show only the 8 largest").click()
    assert rows.all_inner_texts() == few
    assert page.get_by_role("button", name="Show all 676").count() == 1
    layers = [Conv2d(1), MaxPool2d(5), Flatten(), Dense(20), Softmax()]
    big = Sequential(*layers, input_shape=(90, 90, 1), seed=1)
    image = np.random.default_rng(2).integers(0, 256, (90, 90, 1), np.uint8)
    (tmp_path / "big.html").write_text(walk_html(big, image, 1), encoding="utf-8")
    page.goto((tmp_path / "big.html").as_uri() + "#layer=conv2d_1&of=weight.grad&at=0,0,0,0")
    page.get_by_role("button", name="Show all 7,744").click()
    assert rows.count() < 300
    page.evaluate(CHOOSE, [1, "y"])  # the candidates of a maximum: ordered by value, and not added up
    assert "The 8 largest of 25 candidates:" in page.locator("#sum-body").inner_text()
    assert rows.nth(8).inner_text().split("\t") == ["the other 17, none larger", ""]
    assert number(rows.nth(0).inner_text().split("\t")[-1]) == pytest.approx(
        float(trace_step(big, image, 1).layers[1].y[0, 0, 0]), rel=1e-4
    )
    page.get_by_role("button", name="Show all 25").click()
    assert rows.count() == 27
    page.evaluate(CHOOSE, [-1, "p"])
    page.get_by_role("button", name="Show all 20").click()
    assert rows.count() == 23
    assert problems == []
    page.context.close()


def test_results_that_come_too_late_do_not_replace_what_is_shown(browser, tmp_path):  # noqa: F811
    """Steps of settings that were changed meanwhile, an older walk; a walk without its maps is shown."""
    with serving(small(), tmp_path) as url:
        context = browser.new_context(**DESKTOP)
        page, problems, held, asked = context.new_page(), [], [], []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{url}/backprop")
        page.locator("#classes input").first.wait_for()
        draw(page, [(0.3, 0.2), (0.7, 0.2), (0.4, 0.8)])
        wait_until(page, lambda: "reads" in page.locator("#verdict").inner_text())
        page.locator("#classes input").nth(7).check()
        order = []
        page.on("request", lambda request: order.extend(re.findall("backprop/(.+)", request.url)))
        page.route("**/backprop/trace", lambda route: held.append(route))
        page.locator("#backward").click()
        wait_until(page, lambda: held)
        page.wait_for_timeout(100)
        assert order == ["trace"]  # its maps take longer, and are asked for when the walk is shown
        held.pop().continue_()
        page.wait_for_selector("#saliency:not([hidden])")
        page.unroute("**/backprop/trace")
        assert order == ["trace", "saliency"]
        loss = page.evaluate("Walk.trace.loss")

        page.route("**/backprop/practise", lambda route: held.append(route))
        page.locator("#ten").click()
        wait_until(page, lambda: held)
        page.locator("#rate").select_option("0.1")
        with page.expect_response("**/backprop/practise"):
            held.pop().continue_()
        page.wait_for_timeout(100)
        assert page.locator("#practised").inner_text().startswith("No step taken yet.")
        assert page.evaluate("Walk.trace.loss") == loss

        page.route("**/backprop/saliency", lambda route: route.fulfill(status=503, json={"error": "busy"}))
        with page.expect_response("**/predict"):  # of another picture the maps are not there yet
            page.locator("#examples button").nth(4).click()
        page.wait_for_timeout(100)
        page.locator("#classes input").nth(2).check()
        page.locator("#backward").click()
        wait_until(page, lambda: "busy" in page.locator("#trouble").inner_text())
        assert page.evaluate("Walk.trace.label") == 2
        assert page.locator("#saliency").is_hidden()
        page.route("**/backprop/check", lambda route: (asked.append(route.request.post_data_json), route.continue_()))
        page.evaluate("Walk.go(2 * Walk.trace.layers.length)")
        page.get_by_role("button", name="Check this number").click()
        wait_until(page, lambda: "backpropagation is right" in page.locator("#sum-body").inner_text())
        assert asked[0]["label"] == 2  # the walk that is shown

        page.unroute("**/backprop/saliency")
        page.route("**/backprop/trace", lambda route: held.append(route))
        page.locator("#backward").click()
        wait_until(page, lambda: held)
        page.unroute("**/backprop/trace")
        page.locator("#classes input").nth(3).check()  # enables the button
        page.locator("#backward").click()
        wait_until(page, lambda: page.evaluate("Walk.trace.label") == 3)
        with page.expect_response("**/backprop/trace"):
            held.pop().continue_()
        page.wait_for_timeout(200)
        assert page.evaluate("Walk.trace.label") == 3
        page.wait_for_selector("#saliency:not([hidden])")  # its maps were refused once, and were asked for again
        again = []
        page.route("**/backprop/saliency", lambda route: (again.append(route), route.continue_()))
        page.locator("#classes input").nth(5).check()
        page.locator("#backward").click()
        wait_until(page, lambda: page.evaluate("Walk.trace.label") == 5)
        page.wait_for_selector("#saliency:not([hidden])")
        assert again == []  # the maps of this picture are there
        assert problems == []
        context.close()


SHOWN_MAPS = (
    "[...document.querySelectorAll('.panel .chooser output')].map((one) => parseInt(one.innerText.split(' ')[1]))"
)


def test_a_probability_is_written_out_and_the_gradient_derived(browser, files):  # noqa: F811
    path, trace = files("small")
    page, problems = opened(browser, f"{path}#loss&of=p&at=6")
    scores = np.exp(trace.layers[-1].y.astype(np.float64))
    rows = page.locator("#sum-body tbody tr").all_inner_texts()
    shown = [number(row.split("\t")[-1]) for row in rows]
    assert shown[:10] == pytest.approx(scores, rel=1e-4)
    assert shown[10:] == pytest.approx([scores.sum(), scores[6] / scores.sum(), trace.probabilities[6]], rel=1e-4)
    assert "✓" in rows[-1]
    assert "log_softmax_rows" in page.locator("#sum-body").inner_text()
    panel = page.locator("#panels").inner_text()
    assert "Why p − t?" in panel
    assert "docs/path/04_softmax_cross_entropy.md" in panel
    page.locator(".bars tr").nth(4).locator("button").nth(1).click()  # the p of class 3
    assert "Probability p of 3" in page.locator("#sum-body").inner_text()
    page.locator(".bars tr").nth(4).locator("button").nth(0).click()  # its score
    assert page.locator("#step-title").inner_text() == f"{trace.layers[-1].name}, forward"
    assert problems == []
    page.context.close()


def test_all_pictures_of_a_step_show_the_map_of_the_chosen_number(browser, files):  # noqa: F811
    path, _ = files("small", training=True)
    page, problems = opened(browser, path)
    for layer in ("relu_1", "batchnorm_1", "maxpool2d_1"):
        page.goto(f"{path}#layer={layer}")
        shown = page.evaluate(SHOWN_MAPS)
        assert len(shown) == 3, layer
        assert len(set(shown)) == 1, layer
        page.locator("#panels .chooser button").nth(1).click()  # the next map
        turned = page.evaluate(SHOWN_MAPS)
        assert len(set(turned)) == 1, layer
        assert turned != shown, layer
    page.goto(f"{path}#layer=flatten_1&of=grad_x&at=1,2,3")
    assert page.evaluate(SHOWN_MAPS) == [3, 3]
    page.goto(f"{path}#layer=dense_1&of=grad_x&at=7")
    assert len(set(page.evaluate(SHOWN_MAPS))) == 1  # of the weight and its gradient
    page.goto(f"{path}#layer=conv2d_1&of=weight.grad&at=0,0,0,2")
    assert page.evaluate(SHOWN_MAPS) == [2, 2, 2]  # what arrives, the gradient of the weight, the weight
    assert problems == []
    page.context.close()


SHOWN_AXES = """() => [...document.querySelectorAll("#panels output")].map((one) => one.innerText)"""
CHOSEN = "() => ({ quantity: Walk.chosen.quantity, index: Walk.chosen.index })"


def two_convolutions():
    layers = [Conv2d(6), ReLU(), MaxPool2d(), Conv2d(5), ReLU(), Flatten(), Dense(8), ReLU(), Dense(10), Softmax()]
    return Sequential(*layers, input_shape=(28, 28, 1), seed=3)


def chosen_at(page, address):
    page.goto(address)
    return page.evaluate(CHOSEN)


def maps_shown(page):
    """The number of every filter, channel, map and unit that the pictures of the step show."""
    words = " ".join(page.evaluate(SHOWN_AXES))
    return {(name, int(number)) for name, number in re.findall(r"(filter|channel|map|unit) (\d+) \(of", words)}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The address of a walk through two convolutions, and its trace."""
    path = tmp_path_factory.mktemp("two") / "walk.html"
    path.write_text(walk_html(two_convolutions(), IMAGE, 3), encoding="utf-8")
    return path.as_uri(), trace_step(two_convolutions(), IMAGE, 3)


def test_the_first_map_is_the_same_both_ways(browser, two):  # noqa: F811
    """At first that of the weight with the largest gradient, on its layer, and on those that keep its maps."""
    path, trace = two
    page, problems = opened(browser, path)
    layers = {layer.name: layer for layer in trace.layers}

    def steepest(name):
        gradient = np.abs(layers[name].grad_parameters["weight"])
        return int(np.unravel_index(gradient.argmax(), gradient.shape)[-1])

    first, second, unit = steepest("conv2d_1"), steepest("conv2d_2"), steepest("dense_1")
    assert first != np.abs(layers["conv2d_1"].y).max(axis=(0, 1)).argmax()  # the largest output is of another filter
    expected = {
        "conv2d_1": {("filter", first), ("map", first)},
        "relu_1": {("map", first)},
        "maxpool2d_1": {("map", first)},
        "conv2d_2": {("filter", second), ("channel", first), ("map", first), ("map", second)},
        "relu_2": {("map", second)},
        "flatten_1": {("map", second)},
        "dense_1": {("unit", unit)},
    }
    for name, wanted in expected.items():
        for way in ("forward", "backward"):
            chosen = chosen_at(page, f"{path}#layer={name}&pass={way}")
            assert maps_shown(page) == wanted, (name, way)
            if name in ("conv2d_1", "relu_1", "maxpool2d_1"):
                assert chosen["index"][-1] == first
    assert problems == []
    page.context.close()


def test_a_chosen_map_and_place_stay_chosen_in_both_directions(browser, two):  # noqa: F811
    path, trace = two
    page, problems = opened(browser, path)
    relu, pool, flatten = (next(one for one in trace.layers if one.kind == k) for k in ("ReLU", "MaxPool2d", "Flatten"))

    def press(title):
        page.locator(f"#track button[aria-label='{title}']").click()
        return page.evaluate(CHOSEN)

    page.goto(f"{path}#layer=relu_1&pass=forward&of=y&at=5,7,4")
    assert press("relu_1, back") == {"quantity": "grad_x", "index": [5, 7, 4]}
    assert press("conv2d_1, back")["index"][3] == 4
    assert press("conv2d_1, forward") == {"quantity": "y", "index": [5, 7, 4]}
    page.goto(f"{path}#layer=maxpool2d_1&pass=forward&of=y&at=3,9,2")
    assert press("conv2d_1, forward") == {"quantity": "y", "index": [5, 7, 2]}  # the map is that of the pool
    winner = np.unravel_index(pool.x[6:8, 18:20, 2].argmax(), (2, 2))
    back = press("maxpool2d_1, back")
    assert back == {"quantity": "grad_x", "index": [6 + int(winner[0]), 18 + int(winner[1]), 2]}
    page.goto(f"{path}#layer=maxpool2d_1&pass=backward&of=grad_x&at=20,11,2")
    assert press("maxpool2d_1, forward") == {"quantity": "y", "index": [10, 5, 2]}
    page.goto(f"{path}#layer=conv2d_2&pass=backward&of=weight.grad&at=1,2,3,0")
    assert ("map", 0) in maps_shown(page)
    assert press("conv2d_2, forward")["index"][2] == 0
    assert maps_shown(page) == {("filter", 0), ("channel", 3), ("map", 3), ("map", 0)}
    assert press("conv2d_2, back") == {"quantity": "weight.grad", "index": [1, 2, 3, 0]}
    assert press("relu_1, forward")["index"][2] == 3  # the channel of one convolution is the map of the other
    page.goto(f"{path}#layer=flatten_1&pass=backward&of=grad_x&at=4,6,1")
    position = int(np.ravel_multi_index((4, 6, 1), flatten.x.shape))
    assert press("flatten_1, forward") == {"quantity": "y", "index": [position]}
    page.goto(f"{path}#layer=dense_1&pass=forward&of=y&at=6")
    assert press("dense_1, back")["index"][1] == 6
    assert press("relu_3, back") == {"quantity": "grad_x", "index": [6]}
    assert relu.y[5, 7, 4] == pytest.approx(relu.x[5, 7, 4].clip(0))
    assert problems == []
    page.context.close()


def test_a_button_turns_the_pictures_of_both_directions(browser, two):  # noqa: F811
    path, _ = two
    page, problems = opened(browser, path)
    page.goto(f"{path}#layer=conv2d_2&pass=forward")
    before = dict(sorted(maps_shown(page) & {("filter", k) for k in range(5)}))["filter"]
    page.locator(".panel", has_text="weight").get_by_role("button", name="next filter").click()
    after = (before + 1) % 5
    assert ("filter", after) in maps_shown(page)
    assert page.evaluate(CHOSEN)["index"][2] == after  # the output that is explained is of this filter
    page.locator("#track button[aria-label='conv2d_2, back']").click()
    assert ("filter", after) in maps_shown(page)
    assert page.evaluate(CHOSEN)["index"][3] == after
    page.locator("#panels canvas.map").first.hover()  # a mouse that passes chooses no place
    page.locator("#track button[aria-label='conv2d_2, forward']").click()
    assert page.evaluate(CHOSEN)["index"][2] == after
    assert problems == []
    page.context.close()


def test_the_file_holds_the_checks_of_the_filter_that_it_shows_first(browser, two):  # noqa: F811
    path, _ = two
    page, problems = opened(browser, path)
    for name in ("conv2d_1", "conv2d_2"):
        *_, channel, filter_ = chosen_at(page, f"{path}#layer={name}&pass=backward")["index"]
        held = page.evaluate(HELD.replace("conv2d_1", name))
        assert [channel, filter_] in [one[2:] for one in held]
        places = {tuple(index[:2]) for index in held if index[2:] == [channel, filter_]}
        assert places == {(kh, kw) for kh in range(3) for kw in range(3)}
    assert problems == []
    page.context.close()


def test_what_a_step_received_stays_in_this_step(browser, files):  # noqa: F811
    """Pointing at a number of another step shows it here, with the way to there, and not the sum of the other step."""
    path, _ = files("small")
    page, problems = opened(browser, f"{path}#layer=maxpool2d_1")
    page.locator("#panels canvas.map").first.hover()
    said = page.locator("#sum-body").inner_text()
    assert said.startswith("maxpool2d_1: gradient of the output at row")
    assert page.locator("#sum-body table").count() == 0
    page.locator("#panels canvas.map").first.click()
    assert page.locator("#step-title").inner_text() == "maxpool2d_1, back"
    page.get_by_role("button", name="Show how: flatten_1, back").click()
    assert page.locator("#step-title").inner_text() == "flatten_1, back"
    assert page.locator("#sum-body table").count() == 1
    assert problems == []
    page.context.close()


TIED = """() => {
    const pool = Walk.trace.layers.find(({ kind }) => kind === "MaxPool2d"), { shape, data } = pool.y;
    const isTied = (index) => {
        const values = Sums.explain(pool, "y", index).terms.map(({ value }) => value).sort((a, b) => a - b);
        return values.at(-1) === values.at(-2);
    };
    return [...data.keys()].map((i) => Sums.unflat(shape, i)).find(isTied);
}"""


def test_pooling_says_what_ties_and_losers_are_and_shows_its_kernel(browser, files):  # noqa: F811
    path, trace = files("small")
    page, problems = opened(browser, f"{path}#layer=maxpool2d_1")
    panel = page.locator("#sum-body")
    assert "max_pool2d_backward, in tinycnn/backends/numpy_backend.py" in panel.inner_text()
    assert "grad_x[window] += grad_y * (winner == position)" in page.locator(".code").nth(1).inner_text()
    tied = page.evaluate(TIED)
    page.goto(f"{path}#layer=maxpool2d_1&pass=forward&of=y&at={','.join(map(str, tied))}")
    assert "are equally large. The first" in panel.inner_text()
    assert "the first of them wins, row by row" in page.locator("#step-text").inner_text()
    pool = trace.layers[3]
    winner = divmod(int(pool.kept["winner"][0, 0, 0]), 2)
    loser = (1 - winner[0], winner[1])
    page.goto(f"{path}#layer=maxpool2d_1&of=grad_x&at={loser[0]},{loser[1]},0")
    assert f"won by ({winner[0]}, {winner[1]})" in panel.inner_text()
    assert "windows that the pixel won" not in panel.inner_text()
    assert problems == []
    page.context.close()


def test_a_fixed_number_says_so_and_is_released(browser, files):  # noqa: F811
    path, _ = files("small")
    page, problems = opened(browser, f"{path}#layer=maxpool2d_1")
    canvas, said, held = page.locator("#panels canvas.map").last, page.locator("#sum-body .lead"), page.locator("#held")
    for let_go in (lambda: page.keyboard.press("Escape"), lambda: page.locator("#release").click()):
        assert held.is_hidden()
        canvas.click(position={"x": 60, "y": 60})
        assert held.is_visible()
        fixed = said.inner_text()
        canvas.hover(position={"x": 100, "y": 100})
        assert said.inner_text() == fixed
        let_go()
        assert held.is_hidden()
        canvas.hover(position={"x": 100, "y": 100})
        assert said.inner_text() != fixed
    assert problems == []
    page.context.close()


def test_a_test_image_is_walked_through_on_the_page(browser, tmp_path):  # noqa: F811
    with serving(small(), tmp_path) as url:
        context = browser.new_context(**PHONE)
        page, problems = context.new_page(), []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{url}/backprop")
        for button in page.locator("#examples button, #test-images button").all():  # large enough for a finger
            assert min(button.bounding_box()[side] for side in ("width", "height")) >= 36
        page.locator("#test-images button").nth(4).tap()
        assert re.search(
            r"Shown: image \d+ of the test set, whose class is 4\.", page.locator("#test-image").inner_text()
        )
        assert re.search(r"The network reads \d \([<>]?[\d.]+ %\)", page.locator("#verdict").inner_text())
        page.locator("#backward").tap()
        page.wait_for_selector("#walk:not([hidden])")
        image = np.array(page.evaluate("[...Walk.trace.arrays.input.data]"))
        assert page.evaluate("Walk.trace.label") == 4
        pictures = fitting_data(small()).x_test.reshape(-1, 784)
        assert (np.rint(255 * image).astype(np.uint8) == pictures).all(axis=1).sum() == 1
        page.locator("#clear").tap()
        wait_until(page, lambda: page.locator("#verdict").inner_text() == "Nothing drawn yet.")
        assert page.locator("#test-image").inner_text() == ""
        assert problems == []
        context.close()


def test_the_summands_say_where_their_factors_stand(browser, files):  # noqa: F811
    path, trace = files("small")
    page, problems = opened(browser, f"{path}#layer=conv2d_1&of=weight.grad&at=0,2,0,1")
    head, rows = page.locator("#sum-body thead"), page.locator("#sum-body tbody tr")
    assert re.sub(r"\s+", " ", head.inner_text()).startswith(
        "which pixel: row, column which output: row, column (map 1)"
    )
    x, grad_y = trace.layers[0].x, trace.layers[0].grad_y
    for row in rows.all_inner_texts()[:8]:
        pixel, output, product, _ = row.split("\t")
        (h, w), (oh, ow) = (tuple(map(int, each.split(", "))) for each in (pixel, output))
        assert (h, w) == (oh, ow + 2)
        factors = [number(each) for each in product.split(" × ")]
        assert factors == pytest.approx([x[h, w, 0], grad_y[oh, ow, 1]], rel=1e-4)
    rows.nth(3).hover()
    assert "spot" in rows.nth(3).get_attribute("class")
    for address, words in {
        "layer=conv2d_1&of=grad_x&at=9,9,0": "which output: row, column, map which weight: row, column",
        "layer=conv2d_1&pass=forward&of=y&at=9,9,0": "which pixel: row, column which weight: row, column",
        "layer=maxpool2d_1&pass=forward&of=y&at=3,3,0": "which pixel: row, column",
        "layer=dense_1&of=grad_x&at=3": "which output gradient of the output × value of the weight",
        "layer=relu_1&of=grad_x&at=3,3,1": "which output: row, column, map",
        "layer=batchnorm_1&of=gamma.grad&at=1": "which output: row, column (map 1) which x̂: row, column (map 1)",
    }.items():
        page.goto(f"{path}#{address}")
        assert re.sub(r"\s+", " ", head.inner_text()).startswith(words), address
    assert problems == []
    page.context.close()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_place_is_not_read_as_a_value(browser, files, size):  # noqa: F811
    """In every table of every layer: a column has the name of a number only if this number stands in it."""
    path, trace = files("small")
    page, problems = opened(browser, f"{path}#layer=dense_1&of=weight.grad&at=471,8", **size)
    head, first = (
        page.locator(f"#sum-body {part}").first.inner_text().strip().split("\t") for part in ("thead", "tbody tr")
    )
    assert head == ["which input", "which output", "value of the input × gradient of the output", "product"]
    assert first[:2] == ["number 471", "unit 8"]
    last = trace.layers[-1]
    values = [number(each) for each in first[2].split(" × ")]
    assert values == pytest.approx([last.x[471], last.grad_y[8]], rel=1e-4)
    assert "weight at input number 471, unit 8" in page.locator("#sum-body .lead").inner_text()
    for layer, quantity, array in quantities(trace):
        page.evaluate(SHOWN, [layer, quantity, [0] * array.ndim])
        for title in page.locator("#sum-body thead .at").all_inner_texts():
            assert title.startswith("which "), (layer, quantity)
        for title in page.locator("#sum-body thead th:not(.at)").all_inner_texts():
            assert not re.search(r"(^|× )(input|pixel|weight|output)\b", title), (layer, quantity)
    assert "weight of dense_1, input number 471, unit 8" in page.evaluate(
        "Walk.nameOfWeight({ name: 'dense_1.weight', index: [471, 8] })"
    )
    assert problems == []
    page.context.close()


def test_a_pixel_in_no_window_is_explained(browser, tmp_path):  # noqa: F811
    model = Sequential(Conv2d(2), MaxPool2d(), Flatten(), Dense(10), input_shape=(13, 13, 1))
    image = IMAGE[:13, :13]
    (tmp_path / "walk.html").write_text(walk_html(model, image, 3), encoding="utf-8")
    page, problems = opened(browser, (tmp_path / "walk.html").as_uri() + "#layer=maxpool2d_1&of=grad_x&at=10,3,0")
    said = page.locator("#sum-body").inner_text()
    assert "No window covers this place: windows of 2×2, moved by 2 and 2, do not fill 11×11" in said
    assert "cross: in no window" in page.locator("#panels").inner_text()
    assert problems == []
    page.context.close()


def test_the_sum_is_whole_and_its_words_are_plain(browser, files):  # noqa: F811
    """On 1280x900 the total is visible beside the pictures; one minus sign; no word of the source without a meaning."""
    path, _ = files("small", training=True)
    page, _ = opened(browser, f"{path}#loss", **DESKTOP)
    texts = [page.locator("body").inner_text()]
    for layer in ("conv2d_1", "batchnorm_1", "maxpool2d_1", "relu_1", "flatten_1", "dropout_1", "dense_1"):
        for way in ("forward", "backward"):
            page.goto(f"{path}#layer={layer}&pass={way}")
            page.evaluate("document.querySelector('.stage').scrollIntoView()")
            total = page.locator("#sum-body tr.total").bounding_box()
            assert total["y"] + total["height"] < 900, (layer, way)
            texts += [
                page.locator("#panels").inner_text(),
                *page.locator("#sum-body > :not(.source)").all_inner_texts(),
            ]
    for text in texts:
        assert not re.search(
            r"(?<!\w)-\d|\de[-−+]?\d|im2col|col2im|docstring|engine|evaluation mode|backward\(\)", text
        ), text
    page.context.close()


def test_a_finger_moves_enlarges_and_finds_its_way(browser, files):  # noqa: F811
    path, _ = files("small")
    page, problems = opened(browser, f"{path}#layer=conv2d_1&of=grad_x&at=9,9,0", **PHONE)
    said = page.locator("#sum-body .lead")
    page.locator("#peek [data-move='0,1']").tap()
    assert "row 9, column 10" in said.inner_text()
    rows = page.locator("#sum-body tbody tr").all_inner_texts()  # the bar has the picture's number and its sum in brief
    brief = page.locator("#peek-brief").inner_text().replace("(", "").replace(")", "")
    total, one, other, more = re.match(r"(\S+) = (\S+ × \S+) \+ (\S+ × \S+) \+ (\d+) more summands", brief).groups()
    assert number(total) == pytest.approx(number(rows[-1].split("\t")[-1]), rel=1e-3)
    for product, row in zip((one, other), rows, strict=False):
        left, right = map(number, product.split(" × "))
        assert left * right == pytest.approx(number(row.split("\t")[-1]), rel=1e-2)
    assert 2 + int(more) == len(page.evaluate("Walk.chosen.sum.terms"))
    panel = page.locator(".panel", has_text="Gradient of the picture")
    before = panel.locator("canvas.map").bounding_box()["width"]
    panel.get_by_role("button", name="Enlarge").tap()
    assert panel.locator("canvas.map").bounding_box()["width"] > 2 * before
    page.locator("#peek [data-move='1,0']").tap()
    assert "row 10, column 10" in said.inner_text()
    page.locator("#peek-sum").tap()
    top = "document.getElementById('sum').getBoundingClientRect().top"
    assert 0 <= page.evaluate(top) < 200
    page.locator("#sum-body table button.link").first.tap()  # a factor: to the step that computed it
    assert page.locator("#step-title").inner_text() == "relu_1, back"
    assert 0 <= page.locator("#step-title").bounding_box()["y"] < 300
    page.locator("#jump").select_option(label="dense_1, back (9/15)")
    assert page.locator("#step-title").inner_text() == "dense_1, back"
    for button in ("#one", "#ten"):
        page.locator(button).tap()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert problems == []
    page.context.close()


def test_the_sum_of_another_array_begins_at_its_top(browser, files):  # noqa: F811
    """Scrolled down to the source, it hid the summands of the next step."""
    path, _ = files("small")
    page, _ = opened(
        browser, f"{path}#layer=conv2d_1&of=weight.grad&at=0,0,0,0", viewport={"width": 1280, "height": 500}
    )
    page.evaluate("sum.scrollTop = 200")
    page.evaluate("Walk.go(5)")
    assert page.evaluate("sum.scrollTop") == 0
    page.context.close()


def test_the_titles_of_the_row_of_steps_stay_and_its_ends_fade(browser, files):  # noqa: F811
    path, _ = files("small")
    page, _ = opened(browser, path)
    page.evaluate("document.getElementById('track').style.width = '400px'")  # as for a network of more layers
    left = "document.querySelector('#track .line').getBoundingClientRect().left - track.getBoundingClientRect().left"
    for step, classes in ((0, "more-right"), (4, "more-left more-right"), (7, "more-left")):
        page.evaluate(f"Walk.go({step})")
        assert set(page.locator("#track").get_attribute("class").split()) == {"track", *classes.split()}
        assert page.evaluate(left) == 0
    page.context.close()


def test_the_pictures_of_a_phone_stand_side_by_side_above_the_sum(browser, files):  # noqa: F811
    path, _ = files("small")
    page, _ = opened(browser, f"{path}#layer=conv2d_1", **PHONE)
    tops = page.locator(".panel").evaluate_all("panels => panels.map((one) => one.offsetTop)")
    assert len(tops) == 7
    assert set(tops) == {tops[0]}
    assert page.locator("#swipe").inner_text().startswith("7 pictures side by side")
    box = page.locator(".panel", has_text="Gradient of weight").bounding_box()  # that of the chosen number
    assert 0 <= box["x"] < box["x"] + box["width"] <= 390
    title, sum_ = (page.locator(place).bounding_box()["y"] for place in ("#step-title", "#sum"))
    assert sum_ - title < 2 * 844
    page.locator("#peek [data-move='0,1']").tap()
    page.evaluate("document.getElementById('panels').scrollLeft = 0")
    page.locator("#peek [data-move='0,1']").tap()
    assert page.locator(".panel", has_text="Gradient of weight").bounding_box() == box
    page.context.close()


ZOOMED = [
    (683, 512),
    (512, 384),
    (853, 533),
    (960, 540),
]  # 1024x768 at 150 and 200 %, 1280x800 at 150, 1920x1080 at 200


def test_who_starts_at_the_picture_sees_the_picture(browser, files):  # noqa: F811
    path, _ = files("small")
    sizes = [{"viewport": {"width": width, "height": height}} for width, height in ZOOMED]
    for size in (*sizes, PHONE, DESKTOP):
        page, _ = opened(browser, path, **size)
        page.locator("#begin").click()
        assert page.locator("#step-title").inner_text() == "conv2d_1, forward"
        box, bar, peek = (page.locator(place).bounding_box() for place in (".panel >> nth=0", ".way", "#peek"))
        assert page.locator(".panel h3").first.inner_text().startswith("The picture")
        assert 0 <= box["x"] < box["x"] + box["width"] <= size["viewport"]["width"], size
        bottom = size["viewport"]["height"] if peek is None else peek["y"]
        assert bar["y"] + bar["height"] <= box["y"] < box["y"] + 200 < bottom, size
        page.context.close()


def test_the_sum_leads_to_the_picture_of_its_number(browser, files):  # noqa: F811
    path, _ = files("small")
    page, problems = opened(browser, f"{path}#layer=conv2d_1")
    where, panel = page.locator("#where"), page.locator(".panel", has_text="Gradient of weight")
    assert where.inner_text() == "In the picture: Gradient of weight ↓ further down"
    page.locator("#to-picture").click()
    wait_until(page, lambda: where.inner_text().strip() == "In the picture: Gradient of weight")
    box, bar = (one.bounding_box() for one in (panel, page.locator(".way")))
    assert bar["y"] + bar["height"] <= box["y"] < box["y"] + box["height"] <= DESKTOP["viewport"]["height"]
    number = page.evaluate("Walk.chosen.index")
    page.keyboard.press("ArrowUp" if number[0] else "ArrowDown")
    assert page.evaluate("Walk.chosen.index") == [abs(number[0] - 1), *number[1:]]
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    wait_until(page, lambda: where.inner_text().endswith("↑ further up"))
    page.goto(f"{path}#loss")  # a table, no picture
    assert where.is_hidden()
    assert problems == []
    page.context.close()


def test_the_key_to_the_colours_is_one_line_on_a_phone(browser, files):  # noqa: F811
    path, _ = files("small")
    for size, lines in ((PHONE, 1), (DESKTOP, 4)):
        page, _ = opened(browser, path, **size)
        key = page.locator("#colours")
        if size is PHONE:
            assert key.bounding_box()["height"] < 1.5 * 20.3
            key.locator("summary").tap()
        assert "In the pictures titled “gradient”, blue means that the loss rises" in key.inner_text()
        assert key.bounding_box()["height"] < 20.3 * (lines + 9 * (size is PHONE) + 0.5)
        assert {one.evaluate("one => getComputedStyle(one).marginLeft") for one in key.locator(".swatch").all()} == {
            "0px"
        }
        page.context.close()


def test_a_last_digit_that_differs_is_explained(browser, files):  # noqa: F811
    page, _ = opened(browser, files("small")[0])
    own = "Walk.extras.practice.find(({ optimizer, lr }) => optimizer === 'sgd' && lr === 0.001).moved[0]"
    for factor, words in ((1, "all rounded to 6 digits."), (1 + 2e-5, "it rounds each number to about 7 digits")):
        page.evaluate(f"{own}.after = {factor} * ({own}.before - 0.001 * {own}.gradient)")
        page.locator("#one").click()
        said = page.locator("#practised p", has_text="written out").inner_text()
        assert words in said
        shown = page.locator("#practised table").nth(1).locator("tr").nth(1).inner_text().split("\t")[-1]
        assert said.count(shown) == 1  # the number of the row stands in the sentence
        page.locator("#reset").click()
    page.context.close()


BUTTONS = """() => [...document.querySelectorAll("button:not(.link), select, .way")]
    .filter((one) => one.checkVisibility()).map((one) => one.id || one.className)"""
WIDE = """() => [...document.querySelectorAll(".sum, .panel, canvas, .lossbox, .scroller, .equations")]
    .filter((one) => one.scrollWidth > one.clientWidth + 1 || one.getBoundingClientRect().right > innerWidth)
    .map((one) => one.className)"""


def test_a_printed_step_has_its_whole_sum_and_nothing_to_press(browser, files):  # noqa: F811
    """On white, also where the screen is dark; on the screen, the sum scrolls."""
    path, _ = files("small")
    page, problems = opened(browser, f"{path}#layer=conv2d_1", **DESKTOP, color_scheme="dark")
    assert page.evaluate("sum.scrollHeight > sum.clientHeight")
    on_screen = page.locator(".panel canvas.map").first.evaluate("canvas => canvas.toDataURL()")
    page.emulate_media(media="print")
    for width in (688, 1017):  # A4 and A4 on its side, without their margins
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate(BUTTONS) == []
        assert page.evaluate("sum.scrollHeight <= sum.clientHeight + 1"), width
        assert page.evaluate(WIDE) == [], width
    assert page.evaluate("Walk.colourOf('--card')") == "#ffffff"
    assert page.locator(".panel canvas.map").first.evaluate("canvas => canvas.toDataURL()") != on_screen
    assert problems == []
    page.context.close()


def test_the_words_have_room_on_a_small_screen(browser, files):  # noqa: F811
    page, _ = opened(browser, files("small")[0], viewport={"width": 1024, "height": 768})
    widths = page.locator("dl.words").evaluate("list => [...list.children].slice(0, 2).map((one) => one.clientWidth)")
    assert widths[1] > 2 * widths[0]
    assert page.locator("#sum").evaluate("sum => getComputedStyle(sum).scrollbarWidth") == "thin"
    page.context.close()


def test_a_share_that_is_not_1_is_not_shown_as_1(browser, files):  # noqa: F811
    page, _ = opened(browser, files("small")[0])
    shown = page.evaluate("[0.9999996, -0.9999996, 0.99991, 1, -1, 0.5].map((one) => Walk.shareText(one))")
    assert shown == ["> 0.9999", "< −0.9999", "0.9999", "1", "−1", "0.5"]
    page.context.close()


def test_a_wrong_address_is_reported(browser, files):  # noqa: F811
    path, _ = files("small")
    page, _ = opened(browser, path)
    for address, words in {
        "layer=conv2d_1&of=x.grad&at=0,0,0": "x.grad of conv2d_1, which has: y, grad_x, weight.grad",
        "layer=conv2d_1&of=grad_x&at=0,99,0": "Its shape is 28×28×1",
        "layer=conv2d_9": "conv2d_9, which this network does not have. It has: conv2d_1",
        "layer=conv2d_1&pass=sideways": "Expected: forward or backward",
        "loss&of=p&at=10": "The loss has p and score, at 0 to 9",
    }.items():
        page.goto(f"{path}#{address}")
        assert words in page.locator("#notice").inner_text(), address
        page.keyboard.press("ArrowLeft")
        assert page.locator("#notice").is_hidden()
    page.context.close()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_is_cut_off_beside_the_pictures(browser, files, size):  # noqa: F811
    """Every equation of every layer fits its box, and so do the lines of the source; all letters are explained."""
    path, _ = files("small")
    page, _ = opened(browser, path, **size)
    for address in ("layer=conv2d_1", "layer=conv2d_1&pass=forward", "layer=maxpool2d_1", "layer=batchnorm_1", "loss"):
        page.goto(f"{path}#{address}")
        wide = (
            "[...document.querySelectorAll('.equations, .code, .sum')].filter((e) => e.scrollWidth > e.clientWidth + 1)"
        )
        assert page.evaluate(f"{wide}.map((e) => e.innerText)") == [], address
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), address
    page.goto(f"{path}#layer=conv2d_1")
    key = " ".join(page.locator("#sum-body .key").all_inner_texts())
    assert "SH, SW: stride, here 1, 1" in key
    assert "PH, PW: padding above and on the left, here 0, 0" in key
    assert "cols: a matrix with a row for each window" in key
    page.context.close()


WITHOUT_MEANING = """() => [...document.querySelectorAll(".equations mi")].flatMap((letter) => {
    letter.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
    const key = document.getElementById(letter.closest("math").getAttribute("aria-describedby"));
    return key && letter.closest(".equations").title ? [] : [letter.textContent];
})"""
CHOOSE = """([number, quantity]) => {
    const last = Walk.trace.layers.length, layer = Walk.trace.layers[number];
    if (!layer) return Walk.go(last, { quantity, index: [3] });
    const index = Sums.arrayOf(layer, quantity).shape.map(() => 0);
    Walk.go(quantity === "y" ? number : 2 * last - number, { layer, quantity, index });
}"""


def test_every_letter_of_an_equation_has_a_tooltip_and_a_key(browser, files):  # noqa: F811
    page, problems = opened(browser, files("small", training=True)[0])
    found = "Walk.trace.layers.flatMap((layer, i) => Sums.quantities(layer).map((quantity) => [i, quantity]))"
    for chosen in [*page.evaluate(found), [-1, "score"], [-1, "p"]]:
        page.evaluate(CHOOSE, chosen)
        assert page.evaluate(WITHOUT_MEANING) == [], chosen
    page.evaluate(CHOOSE, [0, "weight.grad"])
    page.locator("#sum-body .equations mi", has_text=re.compile("^oh$")).first.hover()
    assert page.locator("#sum-body .equations").first.get_attribute("title") == "oh: row and column of the output"
    assert page.locator(".panel h3 small").first.get_attribute("title") == "how many: row × column × map"
    assert problems == []
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_sufficient(browser, files, scheme):  # noqa: F811
    page, _ = opened(browser, files("small")[0], **DESKTOP, color_scheme=scheme)
    names = ["--text", "--dim", "--for", "--against", "--mark", "--card", "--zero"]
    text, dim, above, below, mark, card, zero = page.evaluate("(names) => names.map(Walk.colourOf)", names)
    assert contrast(text, card) > 7
    assert min(contrast(one, card) for one in (dim, above, below, mark)) > 4.5
    assert min(contrast(one, zero) for one in (above, below, mark)) > 3
    page.context.close()
