"""Networks that read drawn digits, but whose classes have other names: words, some of the digits, even and odd."""

import numpy as np
import pytest

from tests.support.web_helpers import serving
from tests.web.test_page import DESKTOP, PHONE, SEVEN, browser, draw, wait_until  # noqa: F401
from tests.web.test_page import pytestmark as needs_chromium
from tests.web.test_pictures import client_of
from tinycnn import data
from tinycnn.errors import DataError, SettingError
from tinycnn.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential, Sigmoid
from tinycnn.sklearn import TinyCNNClassifier
from tinycnn.web.digit_names import WORDS, class_of_each_digit
from tinycnn.web.picture_predictions import predictor_for

SORTED = ["eight", "five", "four", "nine", "one", "seven", "six", "three", "two", "zero"]


def network(names, *, units=None, last=()):
    layers = [Conv2d(4), ReLU(), MaxPool2d(), Flatten(), Dense(units or len(names)), *last]
    model = Sequential(*layers, input_shape=(28, 28, 1), seed=1)
    model.class_names, model.pictures = names, "drawing"
    return model


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("0123456789", {k: k for k in range(10)}),
        ("567", {5: 0, 6: 1, 7: 2}),
        (["7.0", "2.0"], {7: 0, 2: 1}),
        (SORTED, {0: 9, 1: 4, 2: 8, 3: 7, 4: 2, 5: 1, 6: 6, 7: 5, 8: 0, 9: 3}),
        (["Seven", "ONE"], {7: 0, 1: 1}),
        (["odd", "even"], {k: 1 - k % 2 for k in range(10)}),
        ("01", {}),  # a network without names
        (["7", "seven"], {}),
        (["one", "many"], {}),
        (["50", "60"], {}),
        (["False", "True"], {}),
    ],
)
def test_the_digits_that_names_mean(names, expected):
    assert class_of_each_digit(list(names)) == expected


@pytest.mark.parametrize("names", [SORTED, ["5", "6", "7"], ["even", "odd"]], ids=["words", "some", "even and odd"])
def test_test_images_are_offered_with_the_class_that_their_digit_has(names):
    client = client_of(network(names))
    images = client.get("/backprop/images").json()
    dataset = next(one for one in map(local, ("mnist", "digits")) if one is not None)
    digits = dataset.y_test[images["numbers"]]
    assert sorted(set(images["labels"])) == list(range(len(names)))
    for digit, label in zip(digits, images["labels"], strict=True):
        assert names[label] in (str(digit), WORDS[digit], ("even", "odd")[digit % 2])


def local(name):
    try:
        return data.load(name, download=False)
    except (DataError, SettingError):
        return None


def test_two_classes_of_a_single_output_are_served_without_a_walk():
    client = client_of(network(["even", "odd"], units=1, last=[Sigmoid()]))
    assert client.get("/model").json()["has_walk"] is False
    sheet = np.full((60, 60), 255)
    sheet[10:50, 28:33] = 0
    answer = client.post("/predict?inside=1", json={"pixels": sheet.tolist()}).json()
    assert answer["answer"] == ["even", "odd"][int(np.argmax(answer["probabilities"]))]
    assert sum(answer["probabilities"]) == pytest.approx(1)
    assert answer["explained"] == "odd"  # the single score is that of the second class
    assert client.get("/backprop").status_code == 404
    assert client.get("/backprop/page").status_code == 404


def test_the_class_that_is_explained_is_the_most_probable_one():
    client = client_of(network(["even", "odd"]))
    sheet = np.full((60, 60), 255)
    sheet[10:50, 28:33] = 0
    answer = client.post("/predict?inside=1", json={"pixels": sheet.tolist()}).json()
    assert answer["explained"] == answer["answer"]


def test_refusals_say_what_to_do_instead():
    several = network(["loop", "line"], last=[Sigmoid()])
    with pytest.raises(SettingError, match=r'use the command predict, .*or pass `pictures="whole"`'):
        predictor_for(several)
    several.pictures = "whole"
    assert predictor_for(several).outputs == "labels"
    rows = TinyCNNClassifier(epochs=1, random_state=0).fit(np.eye(64)[:40], np.arange(40) % 2).model_
    with pytest.raises(SettingError, match=r"trained on rows: train one on pictures .* `image_shape`"):
        predictor_for(rows)


@pytest.fixture(scope="module")
def words():
    digits = data.load("digits")
    return TinyCNNClassifier(epochs=1, random_state=0).fit(digits.x_train, np.array(WORDS)[digits.y_train]).model_


@needs_chromium
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_words_name_the_classes_on_both_pages(browser, words, tmp_path, size):  # noqa: F811
    with serving(words, tmp_path) as address:
        context = browser.new_context(**size)
        page, problems = context.new_page(), []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        wait_until(page, lambda: page.locator("#bars .name").all_inner_texts() == SORTED)
        assert page.locator("h1").inner_text() == "Draw a digit"
        draw(page, SEVEN)
        wait_until(page, lambda: page.locator("#digit").inner_text() in SORTED)
        wait_until(page, lambda: page.locator("#explained").inner_text() != "")
        read = page.locator("#digit").inner_text()
        assert (
            page.locator("figcaption", has_text="What mattered")
            .inner_text()
            .startswith(f"What mattered for {read}, by")
        )
        assert page.locator("#saliency").get_attribute("aria-label") == f"Which pixels mattered for {read}"
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.goto(f"{address}/backprop")
        page.get_by_role("button", name="Draw a 7").click()
        assert page.locator("#classes label", has=page.locator("input:checked")).inner_text().startswith("seven")
        page.wait_for_selector("#backward:not([disabled])")
        said = page.locator("#verdict").inner_text()
        page.get_by_role("button", name="Backward").click()
        page.wait_for_selector("#saliency:not([hidden])")
        explained = page.locator("#saliency #explained").inner_text()
        assert f"The network reads{explained.replace(',', '')} (" in said
        named = page.locator("#maps canvas").last.get_attribute("aria-label")
        assert named == f"occlusion: which pixels mattered for {explained.removeprefix(', ')}"
        assert "The label is seven" in page.locator("#about").inner_text()
        assert problems == []
        context.close()


@needs_chromium
def test_a_network_without_a_walk_has_no_link_to_it(browser, tmp_path):  # noqa: F811
    with serving(network(["even", "odd"], units=1, last=[Sigmoid()]), tmp_path) as address:
        page = browser.new_page()
        page.goto(address)
        wait_until(page, lambda: page.locator("#bars .name").all_inner_texts() == ["even", "odd"])
        assert page.locator("#backprop").is_hidden()
        draw(page, SEVEN)
        wait_until(page, lambda: "dense_1 1 number" in page.locator("#layers h3").all_inner_texts())
        page.close()


@needs_chromium
def test_the_walk_of_other_classes_speaks_of_no_digits(browser, tmp_path):  # noqa: F811
    with serving(network(["loop", "line"]), tmp_path) as address:
        page = browser.new_page()
        page.goto(f"{address}/backprop")
        wait_until(page, lambda: page.locator("#classes label").count() == 2)
        page.wait_for_load_state("networkidle")
        assert "digit" not in page.locator("#drawing").inner_text().lower()
        assert "example" not in page.locator("#drawing").inner_text()
        page.close()
