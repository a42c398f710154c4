"""``POST /predict``: correct predictions, also for many clients at once, and an error message for bad requests."""

import asyncio
import base64
import errno
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from threadpoolctl import threadpool_info

import tinycnn
from tests.data.test_drawing import HOSTILE
from tinycnn import explain
from tinycnn.commands import main, serve
from tinycnn.commands.serve import address, for_others, own_addresses
from tinycnn.data.drawing import read_drawing
from tinycnn.errors import SettingError
from tinycnn.layers import BatchNorm, Conv2d, Dense, Flatten, ReLU, Rescaling, Sequential, Sigmoid, Softmax
from tinycnn.train.evaluation import predict_logits

MISSING = "the page's packages are not installed: pip install -e '.[test]'"
httpx = pytest.importorskip("httpx2", reason=MISSING)
TestClient = pytest.importorskip("starlette.testclient", reason=MISSING).TestClient

from tests.support.web_helpers import serving, small_model  # noqa: E402
from tinycnn.web import app as web_app  # noqa: E402
from tinycnn.web.app import create_app  # noqa: E402
from tinycnn.web.decoder import DecodingError  # noqa: E402
from tinycnn.web.predictions import MAX_BYTES, Predictor, encode_maps, layers_to_show  # noqa: E402
from tinycnn.web.request_picture import JSON_TYPE, MAX_BODY, MAX_SIDE, SIGNATURES, decode_picture  # noqa: E402
from tinycnn.web.security import BAD_WINDOW_S, MAX_BAD, MAX_CLIENTS, BadRequestLimiter, host_name, is_loopback  # noqa: E402
from tinycnn.web.walker import Walker  # noqa: E402

PNG = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}
STATIC = Path(web_app.STATIC)


def drawing(seed: int = 0, side: int = 280) -> bytes:
    """A PNG with some strokes, different for every seed."""
    image = Image.new("L", (side, side), 255)
    points = np.random.default_rng(seed).integers(30, side - 30, (5, 2))
    ImageDraw.Draw(image).line([tuple(map(int, point)) for point in points], fill=0, width=20)
    stream = BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def model():
    return small_model()


def client_of(model, names=None, decode=decode_picture, **options):
    """A client of the application without a server; it decodes in this process unless ``decode`` is another."""
    return TestClient(create_app(Predictor(model), decode, names), **options)


@pytest.fixture
def client(model):
    return client_of(model)


def error_sentence(response, status):
    """The message of the error response, after checking its status and form."""
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    return response.json()["error"]


def assert_secure(headers):
    """The headers that keep a browser from doing more with a response than it should."""
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"


# ------------------------------------------------------------------------------------------------ correct predictions


@pytest.mark.usefixtures("backend")
def test_predictions_equal_those_of_the_network(client, model):
    picture = read_drawing(drawing())
    logits = predict_logits(model, picture)[0].astype(np.float64)
    wanted = np.exp(logits) / np.exp(logits).sum()
    answer = client.post("/predict", content=drawing(), headers=PNG).json()
    assert set(answer) == {"empty", "digit", "answer", "probabilities", "several", "picture", "compute_ms"}
    np.testing.assert_allclose(answer["probabilities"], wanted, rtol=1e-6)
    assert answer["digit"] == wanted.argmax()
    assert answer["answer"] == str(answer["digit"])
    assert np.array_equal(answer["picture"], picture[0, :, :, 0])


@pytest.mark.usefixtures("backend")
def test_inside_returns_layer_outputs_and_the_pixel_gradient(client, model):
    picture = read_drawing(drawing())[0]
    answer = client.post("/predict?inside=1", content=drawing(), headers=PNG).json()
    assert [layer["name"] for layer in answer["layers"]] == ["conv2d_1 + relu_1", "maxpool2d_1", "dense_1"]
    outputs = explain.activations(model, picture)
    for layer, name in zip(answer["layers"], ["relu_1", "maxpool2d_1", "dense_1"], strict=True):
        np.testing.assert_allclose(unpacked(layer), outputs[name].reshape(layer["shape"]), atol=layer["largest"] / 200)
    gradient = explain.saliency(model, picture)
    np.testing.assert_allclose(unpacked(answer["saliency"]), gradient, atol=np.abs(gradient).max() / 200)


def unpacked(layer):
    OH, OW, _ = layer["shape"]
    values = np.frombuffer(base64.b64decode(layer["maps"]), np.uint8).reshape(layer["shown"], OH, OW)
    return (values.transpose(1, 2, 0).astype(np.float64) - 128) / 127 * layer["largest"]  # (OH, OW, shown)


def test_json_pixels_and_an_image_file_give_the_same_prediction(client):
    pixels = np.asarray(Image.open(BytesIO(drawing()))).tolist()
    as_json = client.post("/predict", json={"pixels": pixels}).json()
    as_file = client.post("/predict", content=drawing(), headers=PNG).json()
    assert as_json["probabilities"] == as_file["probabilities"]


@pytest.mark.parametrize("body", [b'{"pixels": [[0]]}', b'{"pixels": [[255, 255.0], [255, 255]]}'])
def test_an_empty_drawing_is_not_an_error(client, body):
    response = client.post("/predict", content=body, headers=JSON)
    assert response.status_code == 200
    assert response.json() == {"empty": True, "digit": None, "answer": None, "probabilities": None}


def test_a_transparent_canvas_is_an_empty_drawing(client):
    stream = BytesIO()
    Image.new("RGBA", (280, 280)).save(stream, "PNG")
    assert client.post("/predict", content=stream.getvalue(), headers=PNG).json()["empty"] is True


def test_concurrent_predictions_equal_sequential_ones(backend, model):
    """Calls `Predictor` directly from sixteen threads, which share the one backend of the process."""
    predictor, slow = Predictor(model), backend.name == "cupy-emulated"
    pictures = [read_drawing(drawing(seed)) for seed in range(4 if slow else 16)]
    calls = [i % len(pictures) for i in range(16 if slow else 96)]
    alone = [without_time(predictor.predict(picture, inside=True)) for picture in pictures]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda i: without_time(predictor.predict(pictures[i], inside=True)), calls))
    assert together == [alone[i] for i in calls]
    assert alone[0] != alone[1]


def without_time(prediction):
    return {key: value for key, value in prediction.items() if key != "compute_ms"}


def test_only_one_computes_at_a_time(model, monkeypatch):
    inside, most = [], []

    def slow(*arguments):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return np.zeros((1, 10))

    monkeypatch.setattr("tinycnn.web.predictions.predictions", slow)
    predictor = Predictor(model)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(predictor.predict, [np.zeros((1, 28, 28, 1), np.uint8)] * 16))
    assert len(most) == 16
    assert max(most) == 1


# ---------------------------------------------------------------------------------------------- networks of other kinds


def test_other_input_shapes_and_class_counts_work():
    model = Sequential(Rescaling(1 / 255), Flatten(), Dense(3), input_shape=(20, 24, 1))
    model.pictures = "drawing"
    client = client_of(model)
    answer = client.post("/predict?inside=1", content=drawing(), headers=PNG).json()
    assert len(answer["probabilities"]) == 3
    assert np.array(answer["picture"]).shape == (20, 24)
    assert client.get("/model").json()["input_shape"] == [20, 24, 1]


def test_predictions_use_the_class_names(model):
    model.class_names, model.pictures = [f"thing {k}" for k in range(10)], "drawing"
    client = client_of(model)
    assert client.get("/model").json()["class_names"] == list(model.class_names)
    answer = client.post("/predict", content=drawing(), headers=PNG).json()
    assert answer["answer"] == f"thing {answer['digit']}"


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ([Dense(1), Sigmoid()], "the network returns one probability"),
        ([Dense(3), Sigmoid()], "a probability for each of 3 labels by itself"),
        ([Dense(1)], "the network returns a number"),
    ],
)
def test_a_network_that_does_not_choose_between_classes_is_refused(layers, found):
    model = Sequential(Flatten(), *layers, input_shape=(28, 28, 1))
    model.pictures = "drawing"
    if model.output_shape == (1,):
        model.class_names = ["loop"]  # with two names, it chooses between two classes
    with pytest.raises(SettingError, match=f"the page shows one class per drawing; .*{found}"):
        Predictor(model)


def test_a_network_for_whole_pictures_is_refused(model):
    model.pictures = "whole"
    with pytest.raises(SettingError, match="the page sends drawings, but this network takes whole pictures"):
        Predictor(model)


@pytest.mark.parametrize(
    "model",
    [
        lambda: Sequential(Flatten(), Dense(10), input_shape=(32, 32, 3)),
        lambda: Sequential(Dense(10), input_shape=(784,)),
        lambda: Sequential(Conv2d(2), input_shape=(28, 28, 1)),
    ],
    ids=["colours", "rows", "no classes"],
)
def test_a_network_that_cannot_read_drawings_is_refused(model):
    with pytest.raises(SettingError, match=r"expects class scores; this network takes \("):
        Predictor(model())


def test_layers_to_show_joins_a_layer_and_its_relu():
    model = Sequential(
        *(Rescaling(1 / 255), Conv2d(2), BatchNorm(), ReLU(), Conv2d(2), ReLU()),
        *(Flatten(), Dense(3), ReLU(), Dense(2), Softmax()),
        input_shape=(9, 9, 1),
    )
    labels = ["conv2d_1", "batchnorm_1", "relu_1", "conv2d_2 + relu_2", "dense_1 + relu_3", "dense_2"]
    assert list(layers_to_show(model).values()) == labels


def test_large_layers_are_truncated_and_zero_layers_encode_as_128():
    layer = encode_maps("wide", np.ones((64, 64, 100), np.float32))
    assert layer["shown"] == MAX_BYTES // 64**2
    assert layer["shape"] == [64, 64, 100]
    assert set(base64.b64decode(encode_maps("zero", np.zeros(5))["maps"])) == {128}


# ------------------------------------------------------------------------------------------------------- bad requests

BAD_JSON = {
    "no JSON": b"{",
    "not text": b"\xff\xfe\x00",
    "empty": b"",
    "a list": b"[]",
    "no pixels": b"{}",
    "another key": b'{"pixels": [[0]], "file": "/etc/passwd"}',
    "null": b'{"pixels": null}',
    "no rows": b'{"pixels": []}',
    "empty rows": b'{"pixels": [[], []]}',
    "ragged": b'{"pixels": [[0, 1], [0]]}',
    "not lists": b'{"pixels": ["00", "00"]}',
    "words": b'{"pixels": [["0"]]}',
    "booleans": b'{"pixels": [[true]]}',
    "too deep": b'{"pixels": [[[0]]]}',
    "NaN": b'{"pixels": [[NaN]]}',
    "infinity": b'{"pixels": [[Infinity]]}',
    "above all floats": b'{"pixels": [[1e999]]}',
    "negative": b'{"pixels": [[-1]]}',
    "too bright": b'{"pixels": [[256]]}',
    "a number of 5,000 digits": b'{"pixels": [[' + b"1" * 5000 + b"]]}",
    "far too deep": b"[" * 100_000,
    "too wide": json.dumps({"pixels": [[0] * 1025]}).encode(),
    "too high": json.dumps({"pixels": [[0]] * 1025}).encode(),
}


@pytest.mark.parametrize("body", BAD_JSON.values(), ids=BAD_JSON)
def test_bad_json_is_refused_with_a_message(client, body):
    assert error_sentence(client.post("/predict", content=body, headers=JSON), 400).endswith(".")


@pytest.mark.parametrize(("body", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_images_are_refused_with_a_message(client, body, message):
    kind = next((kind for kind, signature in SIGNATURES.items() if signature.match(body)), None)
    response = client.post("/predict", content=body, headers={"Content-Type": kind or "image/png"})
    assert (message if kind else "not an image of its Content-Type") in error_sentence(response, 400)


def test_a_picture_with_too_many_pixels_is_refused(client):
    stream = BytesIO()
    Image.new("1", (2100, 2100)).save(stream, "PNG")
    assert "above 4,000,000" in error_sentence(client.post("/predict", content=stream.getvalue(), headers=PNG), 400)


def test_an_image_is_read_only_under_its_own_type(client):
    """TIFF and PPM, which the library reads, are not offered at all."""
    image = Image.open(BytesIO(drawing()))
    for written in ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"]:
        stream = BytesIO()
        image.save(stream, written)
        for kind in SIGNATURES:
            response = client.post("/predict", content=stream.getvalue(), headers={"Content-Type": kind})
            if kind == f"image/{written.lower()}":
                assert response.status_code == 200, kind
            else:
                assert f"not an image of its Content-Type, {kind}" in error_sentence(response, 400), written
                client = client_of(small_model()) if kind == "image/bmp" else client  # below the rate limit


@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/form-data", "image/svg+xml", "application/postscript"])
def test_other_types_are_refused(client, kind):
    response = client.post("/predict", content=b"x", headers={"Content-Type": kind})
    assert "expected image/png" in error_sentence(response, 415)


@pytest.mark.parametrize("query", ["inside=2", "inside=", "file=/etc/passwd", "inside=1&inside=x"])
def test_unknown_queries_are_refused(client, query):
    assert "inside" in error_sentence(client.post(f"/predict?{query}", content=drawing(), headers=PNG), 400)


@pytest.mark.parametrize("size", [MAX_BODY + 1, web_app.MAX_RECEIVED + 1])
def test_a_large_body_is_refused_with_and_without_content_length(client, size):
    assert "larger than 1,048,576" in error_sentence(client.post("/predict", content=bytes(size), headers=PNG), 413)
    pieces = (bytes(1 << 16) for _ in range(size // (1 << 16) + 1))  # sent in chunks: no Content-Length
    assert "larger than 1,048,576" in error_sentence(client.post("/predict", content=pieces, headers=PNG), 413)


PATHS = ["/../pyproject.toml", "/..%2f..%2fpyproject.toml", "/static/page.js", "/page.js/x", "//etc/passwd", "/%00"]


@pytest.mark.parametrize("path", [*PATHS, "/page.css%00.html", "/index.html", "/predict/", "/model.safetensors"])
def test_no_path_outside_the_routes_is_served(client, path):
    assert error_sentence(client.get(path, follow_redirects=False), 404) == "there is nothing at this address."


@pytest.mark.parametrize(("method", "path"), [("GET", "/predict"), ("DELETE", "/"), ("POST", "/model")])
def test_other_methods_are_refused(client, method, path):
    error_sentence(client.request(method, path), 405)


def test_an_internal_error_does_not_expose_its_traceback(model, monkeypatch):
    monkeypatch.setattr(Predictor, "predict", lambda *_: 1 / 0)
    client = client_of(model, raise_server_exceptions=False)
    response = client.post("/predict", content=drawing(), headers=PNG)
    assert "internal server error" in error_sentence(response, 500)
    assert_secure(response.headers)


@given(st.binary(max_size=200), st.sampled_from(["application/json", "image/png", "image/gif", "x"]))
@settings(max_examples=60, deadline=None)
def test_any_body_gets_a_json_response(body, kind):
    client = client_of(small_model())
    response = client.post("/predict", content=body, headers={"Content-Type": kind})
    assert response.status_code in (200, 400, 415)
    assert response.json()


# ----------------------------------------------------------------------------------------------------- rates and hosts


def test_many_bad_requests_are_rate_limited(client):
    for _ in range(MAX_BAD):
        error_sentence(client.post("/predict", content=b"{", headers=JSON), 400)
    response = client.post("/predict", content=drawing(), headers=PNG)
    assert "ask again in" in error_sentence(response, 429)
    assert 1 <= int(response.headers["Retry-After"]) <= BAD_WINDOW_S


def test_decodings_that_had_to_be_ended_count_ten_times(model):
    def decode(*_):
        raise DecodingError("it takes too long")

    client = client_of(model, decode=decode)
    for _ in range(3):
        assert "too long" in error_sentence(client.post("/predict", headers=PNG), 400)
    error_sentence(client.post("/predict", headers=PNG), 429)


def test_a_client_over_the_limit_loses_its_waiting_requests_too(model, monkeypatch):
    monkeypatch.setattr(web_app, "PLACES", 1)
    monkeypatch.setattr(web_app, "BAD_DECODING", MAX_BAD)
    release, decoded = threading.Event(), []

    def decode(_, body, __):
        decoded.append(body)
        assert release.wait(20)
        raise DecodingError("it takes too long")

    async def ask_twice():
        transport = httpx.ASGITransport(app=create_app(Predictor(model), decode))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            asked = [asyncio.create_task(client.post("/predict", content=body, headers=PNG)) for body in (b"1", b"2")]
            await asyncio.sleep(0.05)
            release.set()
            return [response.status_code for response in await asyncio.gather(*asked)]

    assert asyncio.run(ask_twice()) == [400, 429]
    assert decoded == [b"1"]


def test_the_rate_limit_expires_and_old_clients_are_dropped():
    now = [0.0]
    limiter = BadRequestLimiter(lambda: now[0])
    for _ in range(MAX_BAD):
        assert limiter.wait_s("a") == 0
        limiter.record("a")
        now[0] += 1
    assert limiter.wait_s("a") == BAD_WINDOW_S - MAX_BAD
    assert limiter.wait_s("b") == 0
    now[0] += BAD_WINDOW_S
    assert limiter.wait_s("a") == 0
    for number in range(2 * MAX_CLIENTS):
        limiter.record(f"client {number}")
    assert len(limiter.times) == MAX_CLIENTS


OWN_NAMES = ["localhost", "LOCALHOST", "localhost.", "LocalHost.:8000", "127.0.0.1", "127.0.0.1:8000", "127.1.2.3"]
OWN_NAMES += [
    "[::1]",
    "[::1]:8000",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "localhost:",
    "pi.local",
    "PI.local.:80",
]
FOREIGN_NAMES = [
    "evil.example",
    "localhost.evil",
    "127.0.0.1.evil.example",
    "localhost..",
    "192.168.0.2",
    "[::2]",
    ":80",
]


def test_only_the_names_of_this_machine_are_accepted(model):
    client = client_of(model, ["localhost", "Pi.Local"])
    for host in OWN_NAMES:
        assert client.get("/", headers={"Host": host}).status_code == 200, host
    for host in FOREIGN_NAMES:
        assert "that host name" in error_sentence(client.get("/", headers={"Host": host}), 400), host


def test_host_names_lose_port_case_and_final_dot():
    names = {"a": "a", "A:1": "a", "a.:": "a", "[::1]": "::1", "[::1]:80": "::1", "::1": "::1", "a:b": "a:b", "": ""}
    assert {host: host_name(host) for host in names} == names


def test_only_loopback_addresses_are_of_this_machine_only():
    own = ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"]
    others = ["0.0.0.0", "::", "192.168.0.2", "::ffff:192.168.0.2", "localhost", "127.evil.example", ""]
    assert [is_loopback(address) for address in own + others] == [True] * len(own) + [False] * len(others)


CROSS_ORIGIN = [
    {"Origin": "http://evil.example"},
    {"Origin": "http://testserver.evil.example"},
    {"Origin": "http://testserver:8001"},  # another program of this machine
    {"Origin": "null"},  # a file, or a sandboxed frame
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]
SAME_ORIGIN = [
    {},  # no browser
    {"Origin": "http://testserver"},
    {"Origin": "http://TestServer", "Host": "testserver"},
    {"Origin": "http://localhost:8000", "Host": "localhost:8000"},
    {"Origin": "https://public.example", "Sec-Fetch-Site": "same-origin"},  # behind a web server that changes Host
    {"Sec-Fetch-Site": "none"},
]


def test_a_foreign_page_can_neither_predict_nor_lock_the_own_page_out(client, monkeypatch):
    monkeypatch.setattr(BadRequestLimiter, "record", lambda *_: pytest.fail("counted"))
    for headers in CROSS_ORIGIN * 5:  # more than MAX_BAD
        response = client.post("/predict", content=b"{", headers={**PNG, **headers})
        assert "page of another host" in error_sentence(response, 403), headers
    assert client.get("/model", headers=CROSS_ORIGIN[0]).status_code == 200  # a link, for instance
    for _ in range(MAX_BAD):  # what a page can send without asking, from a browser that sends neither header
        error_sentence(client.post("/predict", content=b"x", headers={"Content-Type": "text/plain"}), 415)
    for headers in SAME_ORIGIN:
        assert client.post("/predict", content=drawing(), headers={**PNG, **headers}).status_code == 200, headers


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/openapi.json", "/model", "/nowhere", "/predict"])
def test_every_response_has_the_security_headers(client, path):
    assert_secure(client.get(path).headers)


def test_the_page_loads_nothing_from_other_hosts():
    """It contains no inline scripts or styles either, which its Content-Security-Policy forbids."""
    html, css, script = ((STATIC / name).read_text() for name in ("index.html", "page.css", "page.js"))
    assert "http:" not in html + css + script
    assert "https:" not in html + css + script
    assert all(word not in html for word in ("style=", "onclick", "<style", "javascript:"))


def test_several_digits_are_read_one_by_one(client, model):
    image = Image.new("L", (420, 200), 255)
    pen = ImageDraw.Draw(image)
    for left in (60, 200, 340):
        pen.line([(left, 40), (left + 10, 160)], fill=0, width=16)
    stream = BytesIO()
    image.save(stream, "PNG")
    answer = client.post("/predict", content=stream.getvalue(), headers=PNG).json()
    assert len(answer["several"]) == 3
    assert answer["several"][0]["digit"] == answer["digit"]
    assert answer["several"][0]["probability"] == pytest.approx(max(answer["probabilities"]))
    assert client.post("/predict", content=drawing(), headers=PNG).json()["several"] == []


def test_openapi_describes_the_responses(client):
    description = client.get("/openapi.json").json()
    answer = description["components"]["schemas"]["Answer"]["properties"]
    assert set(answer) == set(client.post("/predict?inside=1", content=drawing(), headers=PNG).json())
    layer = description["components"]["schemas"]["Layer"]["properties"]
    assert set(layer) == set(encode_maps("", np.zeros(1)))
    operation = description["paths"]["/predict"]["post"]
    assert {"200", "400", "403", "408", "413", "415", "429", "503"} == set(operation["responses"])
    assert set(operation["requestBody"]["content"]) == {*SIGNATURES, JSON_TYPE}
    rows = operation["requestBody"]["content"][JSON_TYPE]["schema"]["properties"]["pixels"]
    assert rows["maxItems"] == rows["items"]["maxItems"] == MAX_SIDE


# ---------------------------------------------------------------------------------------------------- the real server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(small_model(), tmp_path_factory.mktemp("served")) as url:
        yield url


def test_concurrent_clients_of_the_real_server_get_their_own_predictions(server):
    with httpx.Client() as client:
        ask = partial(probabilities_of, client, server)
        alone = [ask(seed) for seed in range(6)]
        with ThreadPoolExecutor(12) as pool:
            together = list(pool.map(ask, [i % 6 for i in range(60)]))
    assert all(together[i] == alone[i % 6] for i in range(60))


def probabilities_of(client, server, seed):
    """The probabilities for a drawing; repeats the request while the server is busy."""
    for _ in range(200):
        response = client.post(f"{server}/predict", content=drawing(seed), headers=PNG, timeout=30)
        if response.status_code != 503:
            return response.json()["probabilities"]
        time.sleep(0.05)
    pytest.fail("still busy")


def test_a_class_that_asks_at_once_is_served_in_order_and_blocks_no_thread(monkeypatch):
    """The first request waits until all 25 are pending, so a queue that is too short would refuse some."""
    computed, threads, release = [], [], threading.Event()

    def trace(_, request):
        assert release.wait(20)
        computed.append(request.label)
        threads.append(threading.active_count())
        return b"done"

    monkeypatch.setattr(Walker, "trace", trace)
    model = Sequential(Flatten(), Dense(25), Softmax(), input_shape=(2, 2, 1))
    model.pictures = "drawing"

    async def ask_together():
        transport = httpx.ASGITransport(app=create_app(Predictor(model), decode_picture))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            bodies = [{"picture": [[0, 0], [0, 0]], "label": k, "training": False} for k in range(25)]
            asked = [asyncio.create_task(client.post("/backprop/trace", json=body)) for body in bodies]
            await asyncio.sleep(0.2)
            release.set()
            return [response.status_code for response in await asyncio.gather(*asked)]

    before = threading.active_count()
    assert asyncio.run(ask_together()) == [200] * 25
    assert computed == list(range(25))
    assert max(threads) <= before + 2


def test_many_slow_requests_delay_a_quick_one_only_once(monkeypatch):
    computed, release = [], threading.Event()

    def compute(kind):
        assert release.wait(20)
        computed.append(kind)
        return b"done"

    for kind in ("saliency", "trace"):
        monkeypatch.setattr(Walker, kind, lambda *_, kind=kind: compute(kind))
    model = Sequential(Flatten(), Dense(2), Softmax(), input_shape=(2, 2, 1))
    model.pictures = "drawing"
    body = {"picture": [[0, 0], [0, 0]], "label": 0, "training": False}

    async def ask_together():
        transport = httpx.ASGITransport(app=create_app(Predictor(model), decode_picture))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            kinds = ["saliency"] * 4 + ["trace"]
            asked = [asyncio.create_task(client.post(f"/backprop/{kind}", json=body)) for kind in kinds]
            await asyncio.sleep(0.1)
            release.set()
            await asyncio.gather(*asked)

    asyncio.run(ask_together())
    assert computed == ["saliency", "trace", "saliency", "saliency", "saliency"]


def test_nothing_is_computed_for_a_client_that_has_left(model, monkeypatch):
    monkeypatch.setattr(Predictor, "predict", lambda *_: pytest.fail("computed"))
    app, sent = create_app(Predictor(model), decode_picture), []
    arriving = [{"type": "http.request", "body": drawing(), "more_body": False}, {"type": "http.disconnect"}]
    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "client": None}
    scope["headers"] = [(b"content-type", b"image/png"), (b"host", b"localhost")]

    async def receive():
        return arriving.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 400
    assert b"the connection ended" in sent[1]["body"]


def test_no_more_than_the_allowed_requests_are_pending(model, monkeypatch):
    monkeypatch.setattr(web_app, "MAX_PENDING", web_app.PLACES)
    release, arrived = threading.Event(), threading.Semaphore(0)

    def wait_then_decode(*_):
        arrived.release()
        assert release.wait(20)
        return read_drawing(drawing())

    with client_of(model, decode=wait_then_decode) as client, ThreadPoolExecutor(web_app.PLACES) as pool:
        asked = [pool.submit(client.post, "/predict", headers=PNG) for _ in range(web_app.PLACES)]
        assert all(arrived.acquire(timeout=20) for _ in asked)
        response = client.post("/predict", headers=PNG)
        release.set()
        assert [one.result().status_code for one in asked] == [200] * web_app.PLACES
        assert client.post("/predict", headers=PNG).status_code == 200
    assert "busy" in error_sentence(response, 503)
    assert response.headers["Retry-After"] == "1"


# -------------------------------------------------------------------------------------------------------- the command


def test_serve_reports_user_errors_in_one_line(tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    tinycnn.save(small_model(), path)
    rows = tmp_path / "rows.safetensors"
    tinycnn.save(Sequential(Dense(10), input_shape=(784,)), rows)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.listen()
        port = str(taken.getsockname()[1])
        cases = [
            ([str(tmp_path / "missing"), "--port", "0"], "no such file"),
            ([str(rows), "--port", "0"], "takes (784,)"),
            ([str(path), "--port", "70000"], "expected 0 to 65535"),
            ([str(path), "--port", port], "choose with --host and --port"),
            ([str(path), "--host", "no such host"], "choose with --host and --port"),
        ]
        for arguments, message in cases:
            with tinycnn.use_backend("numpy"):
                assert main(["serve", *arguments, "--backend", "numpy"]) == 2
            assert message in capsys.readouterr().err


def test_serve_warns_where_others_can_reach_it_and_accepts_its_own_name(tmp_path, capsys, monkeypatch):
    class NoServer:
        def run(self, sockets):
            assert sockets[0].getsockname()[1] > 0
            with tinycnn.use_backend("numpy"):  # as the walk computes, whatever the backend of the server
                assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}

    apps = []
    monkeypatch.setattr("tinycnn.web.server.make_server", lambda app, _: apps.append(app) or NoServer())
    monkeypatch.setattr("tinycnn.web.decoder.Decoder.start", lambda _: None)
    path = tmp_path / "model.safetensors"
    tinycnn.save(small_model(), path)
    for host, names in [("0.0.0.0", None), ("LOCALHOST", {"localhost"}), ("127.0.0.1", {"localhost", "127.0.0.1"})]:
        with tinycnn.use_backend("numpy"):
            assert main(["serve", str(path), "--port", "0", "--host", host, "--backend", "numpy"]) == 0
        printed = capsys.readouterr()
        assert "draw at http://" in printed.out
        assert ("warning: every machine that can reach" in printed.err) == (names is None)
        assert ("for others on your network: http://" in printed.out) == (names is None)
        assert apps[-1].names == names
    with tinycnn.use_backend("numpy"):
        assert main(["serve", "--port", "0", "--backend", "numpy"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("digit_cnn, which comes with tinycnn: draw at http://127.0.0.1:")
    assert re.search(r"^backpropagation, every number: http://127\.0\.0\.1:\d+/backprop$", out, re.MULTILINE)


@pytest.fixture
def networks(monkeypatch):
    """Instead of sockets, routes: the beginning of a target → the own address there. Sending is not possible."""
    routes = {}

    class Probe:
        def __init__(self, family, kind):
            assert kind == socket.SOCK_DGRAM
            self.own = None

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def connect(self, target):
            self.own = next((own for begin, own in routes.items() if target[0].startswith(begin)), None)
            if self.own is None:
                raise OSError(errno.ENETUNREACH, "Network is unreachable")

        def getsockname(self):
            return self.own, 40000

    monkeypatch.setattr(serve.socket, "socket", Probe)
    return routes


def test_the_addresses_for_others_are_those_of_the_networks(networks):
    assert own_addresses(socket.AF_INET) == []  # no network at all
    networks["192.168.1."] = "192.168.1.20"  # a router without the internet, and no route beyond it
    assert own_addresses(socket.AF_INET) == ["192.168.1.20"]
    networks["10."] = "10.8.0.2"  # a tunnel
    networks[""] = "192.168.1.20"
    assert own_addresses(socket.AF_INET) == ["192.168.1.20", "10.8.0.2"]
    networks.clear()
    networks.update({"10.": "127.0.0.1", "192.0": "0.0.0.0"})
    assert own_addresses(socket.AF_INET) == []
    networks["2001:"] = "2001:db8::7"
    assert own_addresses(socket.AF_INET6) == ["2001:db8::7"]


def test_what_others_type_is_printed():
    begin = "for others on your network: http://"
    assert for_others(["192.168.1.20", "2001:db8::7"], 80, walk=True).splitlines() == [
        f"{begin}192.168.1.20:80 and http://192.168.1.20:80/backprop",
        f"{begin}[2001:db8::7]:80 and http://[2001:db8::7]:80/backprop",
    ]
    assert for_others(["192.168.1.20"], 80, walk=False) == f"{begin}192.168.1.20:80"
    unknown = for_others([], 80, walk=True)
    assert unknown.startswith(f"{begin}ADDRESS:80 and http://ADDRESS:80/backprop; ADDRESS is shown by `ip address`")


def test_finding_the_own_addresses_works_on_this_machine():
    """On the real network, whatever it is: each address can be listened on, so it is this machine's."""
    for own in own_addresses(socket.AF_INET):
        with socket.create_server((own, 0)):
            pass


def test_addresses():
    assert address("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert address("::", 80) == "http://[::1]:80"
    assert address("fe80::1", 80) == "http://[fe80::1]:80"
