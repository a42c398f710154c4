"""``POST /predict`` for networks that take whole pictures: the same predictions as ``tinycnn predict``."""

import base64
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tinycnn
from tests.support.in_process import run_here
from tinycnn import data, explain
from tinycnn.commands import main
from tinycnn.errors import SettingError
from tinycnn.explain.saliency import COLOURS, METHODS
from tinycnn.layers import Conv2d, Dense, Flatten, ReLU, Sequential, Sigmoid
from tinycnn.train.predicting import predictions

pytest.importorskip("httpx2", reason="the page's packages are not installed: pip install -e '.[test]'")
TestClient = pytest.importorskip("starlette.testclient").TestClient

from tests.web.test_server import JSON, PNG, STATIC, assert_secure, error_sentence, unpacked  # noqa: E402
from tinycnn.web import picture_predictions  # noqa: E402
from tinycnn.web.app import PICTURE_FILES, create_app  # noqa: E402
from tinycnn.web.picture_predictions import PicturePredictor, predictor_for  # noqa: E402
from tinycnn.web.predictions import Predictor  # noqa: E402
from tinycnn.web.request_picture import MAX_BODY, MAX_PIXELS, decode_picture  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs"
NAMES = ["circle", "square", "triangle"]
COLOUR, GREY = (12, 16, 3), (12, 16, 1)


def network(shape=COLOUR, *, units=3, last=(), **settings):
    """An untrained network for whole pictures."""
    model = Sequential(Conv2d(4), ReLU(), Flatten(), Dense(units), *last, input_shape=shape)
    model.pictures = "whole"
    for name, value in settings.items():
        setattr(model, name, value)
    return model


def client_of(model):
    return TestClient(create_app(predictor_for(model), decode_picture))


def photo(kind="PNG", size=(50, 40), mode="RGB", **options):
    """The bytes of a picture file, different at each corner."""
    channels = Image.new(mode, (1, 1)).getbands()
    pixels = np.random.default_rng(0).integers(0, 256, (size[1] // 10, size[0] // 10, len(channels)), np.uint8)
    small = Image.fromarray(pixels if len(channels) > 1 else pixels[:, :, 0])
    stream = BytesIO()
    small.resize(size).save(stream, kind, **options)
    return stream.getvalue()


def plain(size):
    """The bytes of a black PNG file, which are few."""
    stream = BytesIO()
    Image.new("1", size).save(stream, "PNG")
    return stream.getvalue()


def turned():
    """A photograph with an EXIF orientation, as of a phone held upright."""
    exif = Image.Exif()
    exif[274] = 6
    return photo("JPEG", exif=exif)


def deep():
    """A grey PNG file of 16 bits."""
    stream = BytesIO()
    Image.fromarray(np.linspace(0, 65535, 40 * 50).reshape(40, 50).astype(np.uint16)).save(stream, "PNG")
    return stream.getvalue()


FILES = {
    "png": ("image/png", photo()),
    "jpg": ("image/jpeg", photo("JPEG")),
    "webp": ("image/webp", photo("WEBP")),
    "turned.jpg": ("image/jpeg", turned()),
    "transparent.png": ("image/png", photo(mode="RGBA")),
    "grey.jpg": ("image/jpeg", photo("JPEG", mode="L")),
    "deep.png": ("image/png", deep()),
    "tall.png": ("image/png", photo(size=(20, 90))),
}


@pytest.mark.parametrize("shape", [COLOUR, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("name", FILES)
def test_predictions_equal_those_of_the_command_predict(tmp_path, name, shape):
    (kind, body), model = FILES[name], network(shape, class_names=NAMES)
    (tmp_path / name).write_bytes(body)
    tinycnn.save(model, tmp_path / "model.safetensors")
    answer = client_of(model).post("/predict?inside=1", content=body, headers={"Content-Type": kind}).json()
    with tinycnn.use_backend("numpy"):
        printed = run_here("predict", "model.safetensors", name, "--backend", "numpy", folder=tmp_path).stdout
    line = printed.splitlines()[1].split()
    assert line == [name, answer["answer"], *(f"{100 * p:.1f}" for p in answer["probabilities"])]
    picture = data.load_picture(tmp_path / name, model)
    assert answer["picture"]["shape"] == list(shape)
    assert base64.b64decode(answer["picture"]["pixels"]) == picture.tobytes()
    np.testing.assert_allclose(answer["probabilities"], predictions(model, picture)[0], rtol=1e-6)


def test_the_response_has_names_and_probabilities():
    answer = client_of(network(class_names=NAMES)).post("/predict", content=photo(), headers=PNG).json()
    assert set(answer) == {"outputs", "class_names", "answer", "probabilities", "numbers", "compute_ms"}
    assert (answer["outputs"], answer["class_names"], answer["numbers"]) == ("classes", NAMES, None)
    assert sum(answer["probabilities"]) == pytest.approx(1)
    assert answer["answer"] == NAMES[int(np.argmax(answer["probabilities"]))]


def test_json_pixels_are_a_grey_picture():
    pixels = np.asarray(Image.open(BytesIO(photo(mode="L"))))
    for shape in (COLOUR, GREY):
        client = client_of(network(shape))
        as_json = client.post("/predict", json={"pixels": pixels.tolist()}).json()
        as_file = client.post("/predict", content=photo(mode="L"), headers=PNG).json()
        assert as_json["probabilities"] == as_file["probabilities"]
        assert "not JSON" in error_sentence(client.post("/predict", content=b"{", headers=JSON), 400)


# ------------------------------------------------------------------------------------------- what the outputs mean


def test_classes_without_names_have_numbers():
    answer = client_of(network()).post("/predict", content=photo(), headers=PNG).json()
    assert answer["class_names"] == ["0", "1", "2"]
    assert answer["answer"] in answer["class_names"]


def test_labels_have_a_probability_each():
    model = network(last=[Sigmoid()], class_names=["red", "round", "large"])
    answer = client_of(model).post("/predict?inside=1", content=photo(), headers=PNG).json()
    z = model.logits(explain.inputs.as_input(model, picture_of(model)[np.newaxis])).numpy()[0].astype(np.float64)
    np.testing.assert_allclose(answer["probabilities"], 1 / (1 + np.exp(-z)), rtol=1e-6)
    assert (answer["outputs"], answer["answer"], answer["numbers"]) == ("labels", None, None)
    assert answer["explained"] == answer["class_names"][int(np.argmax(z))]


def test_a_single_output_chooses_between_two_classes():
    model = network(units=1, last=[Sigmoid()], class_names=["cat", "dog"])
    answer = client_of(model).post("/predict?inside=1", content=photo(), headers=PNG).json()
    assert answer["outputs"] == "classes"
    assert sum(answer["probabilities"]) == pytest.approx(1)
    assert answer["answer"] == ["cat", "dog"][int(np.argmax(answer["probabilities"]))]
    assert answer["explained"] == "dog"  # the only score is that of the second class


@pytest.mark.parametrize(("count", "names", "explained"), [(1, ["number"], "number"), (3, ["0", "1", "2"], None)])
def test_numbers_are_numbers(count, names, explained):
    model = network(units=count, outputs="numbers")
    answer = client_of(model).post("/predict?inside=1", content=photo(), headers=PNG).json()
    assert (answer["outputs"], answer["class_names"], answer["probabilities"]) == ("numbers", names, None)
    np.testing.assert_allclose(answer["numbers"], predictions(model, picture_of(model)[np.newaxis])[0], rtol=1e-6)
    assert (answer["explained"], bool(answer["saliencies"])) == (explained, explained is not None)
    assert client_of(model).get("/model").json()["class_names"] == names


def test_numbers_that_are_not_finite_are_no_answer():
    model = network(units=2, outputs="numbers")
    model.load_state_dict({**model.state_dict(), "dense_1.bias": np.full(2, np.inf, np.float32)})
    assert "not finite" in error_sentence(client_of(model).post("/predict", content=photo(), headers=PNG), 500)


# ------------------------------------------------------------------------------------------------- what mattered


def picture_of(model, body=None):
    return decode_picture("image/png", body or photo(), model.input_shape)[0]


def test_what_mattered_is_explained_for_the_predicted_class():
    model = network(class_names=NAMES)
    answer = client_of(model).post("/predict?inside=1", content=photo(), headers=PNG).json()
    methods = {
        "Grad-CAM": explain.grad_cam,
        "input × gradient": explain.input_times_gradient,
        "SmoothGrad": partial(explain.smooth_grad, samples=8),
        "gradient": explain.saliency,
    }
    assert answer["explained"] == answer["answer"]
    assert [one["name"] for one in answer["saliencies"]] == list(methods)
    assert [one["colours"] for one in answer["saliencies"]] == [COLOURS[name] for name in methods]
    for encoded, method in zip(answer["saliencies"], methods.values(), strict=True):
        wanted = method(model, picture_of(model), NAMES.index(answer["answer"])).reshape(12, 16, -1).sum(axis=2)
        np.testing.assert_allclose(unpacked(encoded)[:, :, 0], wanted, atol=np.abs(wanted).max() / 200)


def test_methods_that_a_network_does_not_allow_are_left_out(monkeypatch):
    flat = Sequential(Flatten(), Dense(3), input_shape=COLOUR)
    assert list(PicturePredictor(flat).maps) == ["input × gradient", "SmoothGrad", "gradient"]
    monkeypatch.setattr(picture_predictions, "MAX_SAMPLED", 10)
    assert list(PicturePredictor(network()).maps) == ["Grad-CAM", "input × gradient", "gradient"]


def test_the_page_does_not_begin_with_maps_that_are_too_small_to_show_a_place():
    small = Sequential(Conv2d(4, kernel_size=(11, 15)), ReLU(), Flatten(), Dense(3), input_shape=(12, 16, 3))
    assert list(PicturePredictor(small).maps)[:2] == ["input × gradient", "Grad-CAM"]


def test_what_the_colours_mean_is_the_same_everywhere():
    """The legend once called an apple orange "pixels that speak against it", for which a darker one scores more."""
    document = (DOCS / "pictures.md").read_text(encoding="utf-8")
    assert list(COLOURS) == list(METHODS)
    for name, words in COLOURS.items():
        assert f"- {name}: {words}." in " ".join(document.split())
    assert "opposed" not in document


# ---------------------------------------------------------------------------------------------------- bad requests


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (photo()[:300], 400, "the image in it is damaged"),
        (b"shopping list: milk", 400, "not an image of its Content-Type, image/png"),
        (bytes(MAX_BODY + 1), 413, "larger than 1,048,576 bytes"),
        (plain((2100, 2000)), 400, "above 4,000,000"),
    ],
    ids=["broken", "text", "too many bytes", "too many pixels"],
)
def test_what_is_no_picture_is_refused_with_a_sentence(body, status, message):
    client = client_of(network())
    assert message in error_sentence(client.post("/predict", content=body, headers=PNG), status)
    assert client.post("/predict", content=photo(), headers=PNG).status_code == 200


def test_other_types_and_queries_are_refused():
    client = client_of(network())
    response = client.post("/predict", content=b"x", headers={"Content-Type": "image/svg+xml"})
    assert "expected image/png" in error_sentence(response, 415)
    assert "inside" in error_sentence(client.post("/predict?label=1", content=photo(), headers=PNG), 400)


# ------------------------------------------------------------------------------------------ which network, which page


def test_the_network_decides_which_page_is_served():
    model = network(GREY)
    assert isinstance(predictor_for(model), PicturePredictor)
    model.pictures = "drawing"
    assert isinstance(predictor_for(model), Predictor)
    pages = [client_of(network(GREY, pictures=pictures)).get("/").text for pictures in ("whole", "drawing")]
    assert [page.count('type="file"') > 0 for page in pages] == [True, False]


@pytest.mark.parametrize(
    "model",
    [
        lambda: Sequential(Dense(10), input_shape=(784,)),
        lambda: Sequential(Flatten(), Dense(10), input_shape=(8, 8, 4)),
        lambda: Sequential(Conv2d(2), input_shape=COLOUR),
    ],
    ids=["rows", "four channels", "no classes"],
)
def test_a_network_that_takes_no_pictures_is_refused(model):
    with pytest.raises(SettingError, match=r"takes pictures, \(H, W, 1\) or .*this network takes \("):
        predictor_for(model())


def test_there_is_no_walk_and_nothing_about_it():
    client = client_of(network())
    for path in ("/backprop", "/backprop/page", "/walk.js", "/page.js"):
        assert error_sentence(client.get(path), 404)
    assert error_sentence(client.post("/backprop/trace", json={}), 404)
    for name in ("pictures.html", "pictures.js"):
        assert "backprop" not in (STATIC / name).read_text(encoding="utf-8")


def test_the_files_of_the_page_are_its_own():
    """They have the security headers, and load nothing from other hosts, which these forbid."""
    client = client_of(network())
    for path, (_, kind) in PICTURE_FILES.items():
        response = client.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(kind)
        assert_secure(response.headers)
        for forbidden in ("http:", "https:", "style=", "onclick", "<style", "blob:"):
            assert forbidden not in response.text, (path, forbidden)


def test_the_description_lists_the_fields_of_the_response():
    client = client_of(network())
    answer = client.get("/openapi.json").json()["components"]["schemas"]["PictureAnswer"]
    assert set(answer["properties"]) == set(client.post("/predict?inside=1", content=photo(), headers=PNG).json())
    assert set(answer["required"]) == set(client.post("/predict", content=photo(), headers=PNG).json())


def test_the_page_is_told_how_much_it_may_send():
    described = client_of(network(GREY, class_names=NAMES)).get("/model").json()
    assert (described["most_bytes"], described["most_pixels"]) == (MAX_BODY, MAX_PIXELS)
    assert (described["input_shape"], described["class_names"], described["outputs"]) == ([12, 16, 1], NAMES, "classes")


def test_the_command_serves_pictures_and_mentions_no_walk(tmp_path, capsys, monkeypatch):
    class NoServer:
        def run(self, sockets):
            assert sockets[0].getsockname()[1] > 0

    apps, warmed = [], []
    predict = PicturePredictor.predict
    monkeypatch.setattr(PicturePredictor, "predict", lambda *a, **named: warmed.append(named) or predict(*a, **named))
    monkeypatch.setattr("tinycnn.web.server.make_server", lambda app, _: apps.append(app) or NoServer())
    monkeypatch.setattr("tinycnn.web.decoder.Decoder.start", lambda _: None)
    tinycnn.save(network(), tmp_path / "model.safetensors")
    with tinycnn.use_backend("numpy"):
        assert main(["serve", str(tmp_path / "model.safetensors"), "--port", "0", "--backend", "numpy"]) == 0
    out = capsys.readouterr().out
    assert "model.safetensors: choose pictures at http://127.0.0.1:" in out
    assert len(out.splitlines()) == len(apps) == 1
    assert warmed == [{"inside": True}, {"inside": False}]
