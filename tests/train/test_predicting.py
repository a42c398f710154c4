"""What predictions are by the meaning of the outputs, and what ``fit`` states in the metadata of a network."""

import numpy as np
import pytest
from scipy.special import expit, softmax

import tinycnn
from tests.support.in_process import run_here
from tinycnn import Sequential, data, explain, ops
from tinycnn.data.drawing import normalise
from tinycnn.errors import SettingError
from tinycnn.layers import Dense, Flatten, LogSoftmax, Sigmoid, Softmax
from tinycnn.train import predictions

SHAPE = (5, 4, 3)
BINARY = "binary_cross_entropy_with_logits"


def network(*layers, shape=SHAPE):
    return Sequential(Flatten(), *layers, input_shape=shape)


def pictures(count, shape=SHAPE):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


def scores(model, images):
    """The outputs of the Dense layer, in NumPy."""
    state = model.state_dict()
    return images.reshape(len(images), -1) / 255 @ state["dense_1.weight"].astype(np.float64) + state["dense_1.bias"]


def name_of(one):
    """Without the address of a function, which differs from process to process."""
    return getattr(one, "__name__", str(one))


def binary(z):
    return np.concatenate([1 - expit(z), expit(z)], axis=1)


@pytest.mark.parametrize(
    ("layers", "outputs", "expected"),
    [
        ([Dense(3)], None, lambda z: softmax(z, axis=1)),
        ([Dense(3), Softmax()], None, lambda z: softmax(z, axis=1)),
        ([Dense(3), LogSoftmax()], None, lambda z: softmax(z, axis=1)),
        ([Dense(3), Sigmoid()], None, expit),
        ([Dense(3), Sigmoid()], "classes", lambda z: softmax(z, axis=1)),
        ([Dense(3), Sigmoid()], "numbers", expit),
        ([Dense(3)], "labels", expit),
        ([Dense(3)], "numbers", lambda z: z),
        ([Dense(1), Sigmoid()], None, binary),
        ([Dense(1)], "labels", binary),
        ([Dense(1)], None, lambda z: z),
    ],
    ids=name_of,
)
def test_predictions_are_what_the_outputs_mean(layers, outputs, expected, tmp_path):
    model, images = network(*layers), pictures(4)
    model.outputs = outputs
    tinycnn.save(model, tmp_path / "model.safetensors")
    again = tinycnn.load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(predictions(again, images), expected(scores(model, images)), rtol=1e-5)


def test_a_label_of_a_large_score_is_no_overflow():
    model = network(Dense(2), Sigmoid())
    model.layers["dense_1"].parameters_by_name["bias"].data[...] = 2000, -2000
    np.testing.assert_array_equal(predictions(model, pictures(1)), [[1, 0]])


@pytest.mark.parametrize(
    ("layers", "loss", "labels", "expected"),
    [
        ([Dense(3)], "softmax_cross_entropy", [0, 1, 2, 0], {}),
        ([Dense(3), Sigmoid()], "softmax_cross_entropy", [0, 1, 2, 0], {"outputs": "classes"}),
        ([Dense(3), Softmax()], "mse_loss", np.eye(3)[[0, 1, 2, 0]], {}),
        ([Dense(3)], "mse_loss", np.ones((4, 3)), {"outputs": "numbers"}),
        ([Dense(1)], "l1_loss", [0.5, 1, 2, 3], {}),
        ([Dense(1), Sigmoid()], "mse_loss", [0.0, 1, 1, 0], {}),
        ([Dense(1), Sigmoid()], "mse_loss", [0.0, 0.5, 1, 0], {"outputs": "numbers"}),
        ([Dense(1)], BINARY, [0.0, 1, 1, 0], {"outputs": "labels"}),
        ([Dense(1), Sigmoid()], BINARY, [0.0, 1, 1, 0], {}),
        ([Dense(3)], BINARY, np.ones((4, 3)), {"outputs": "labels"}),
        ([Dense(3)], lambda y, t: ops.mse_loss(y, t), np.ones((4, 3)), {"outputs": "numbers"}),
        ([Dense(3)], lambda y, t: ops.softmax_cross_entropy(y, t), [0, 1, 2, 0], {}),
        ([Dense(3), Sigmoid()], lambda y, t: ops.mse_loss(y, t), np.ones((4, 3)), {}),
    ],
    ids=name_of,
)
def test_fit_states_what_the_outputs_mean(layers, loss, labels, expected):
    model = network(*layers)
    model.fit(pictures(4), np.asarray(labels), loss=loss, progress=False)
    assert model.metadata() == expected


def test_the_last_fit_decides_and_a_new_head_is_open():
    model = network(Dense(3))
    model.fit(pictures(4), np.ones((4, 3)), loss="mse_loss", progress=False)
    assert model.with_head(2).outputs == "classes"
    model.fit(pictures(4), np.array([0, 1, 2, 0]), progress=False)
    assert model.outputs == "classes"


def test_a_single_output_has_two_names():
    model = network(Dense(1), Sigmoid())
    assert model.class_names == ("0", "1")
    model.class_names = ["even", "odd"]
    assert (model.class_names, model.outputs) == (("even", "odd"), "labels")
    with pytest.raises(SettingError, match=r"got 3 names .* expected one name, or those of the classes 0 and 1"):
        model.class_names = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("layers", "outputs", "message"),
    [
        ([Dense(3)], "probabilities", "expected 'classes', 'labels' or 'numbers'"),
        ([Dense(3), Softmax()], "labels", "the outputs of Softmax are 'classes'"),
        ([Dense(1)], "classes", "a single output is one of the 'labels' or 'numbers'"),
    ],
)
def test_outputs_that_cannot_be(layers, outputs, message):
    with pytest.raises(SettingError, match=message):
        network(*layers).outputs = outputs


# --------------------------------------------------------------------------------------------------------- the commands


def printed(model, tmp_path, *words, names=None):
    """What ``tinycnn predict`` prints for a grey picture, and the scores of the network for it."""
    from PIL import Image

    model.pictures = "whole"
    if names:
        model.class_names = names
    tinycnn.save(model, tmp_path / "model.safetensors")
    Image.new("L", (9, 9), 200).save(tmp_path / "grey.png")
    run = run_here("predict", "model.safetensors", "grey.png", *words, folder=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout.splitlines(), scores(model, np.full((1, *model.input_shape), 200))[0]


def test_predict_prints_each_label_by_itself(tmp_path):
    (head, line), z = printed(network(Dense(3), Sigmoid(), shape=(6, 6, 1)), tmp_path, names=["odd", "big", "three"])
    assert head.split() == ["picture", "odd", "big", "three", "%,", "each", "by", "itself"]
    assert line.split() == ["grey.png", *(f"{100 * p:.1f}" for p in expit(z))]


def test_predict_prints_both_classes_of_one_output(tmp_path):
    (head, line), z = printed(network(Dense(1), Sigmoid(), shape=(6, 6, 1)), tmp_path, names=["even", "odd"])
    p = float(expit(z[0]))
    assert head.split() == ["picture", "class", "even", "odd", "%"]
    assert line.split() == ["grey.png", "even" if p < 0.5 else "odd", f"{100 - 100 * p:.1f}", f"{100 * p:.1f}"]


@pytest.mark.parametrize("names", [None, ["age"]])
def test_predict_prints_the_number_of_a_regression(names, tmp_path):
    (head, line), z = printed(network(Dense(1), shape=(6, 6, 1)), tmp_path, names=names)
    assert head.split() == ["picture", names[0] if names else "number"]
    assert float(line.split()[1]) == pytest.approx(z[0], rel=1e-5)


@pytest.mark.parametrize("layers", [[Dense(3), Sigmoid()], [Dense(1)]])
@pytest.mark.parametrize("words", [["evaluate", "--dataset", "digits"], ["trace", "grey.png", "--label", "0"]])
def test_commands_for_classes_refuse_other_networks(layers, words, tmp_path):
    printed(network(*layers, shape=(28, 28, 1)), tmp_path)
    run = run_here(words[0], "model.safetensors", *words[1:], folder=tmp_path)
    assert run.returncode == 2
    assert "class" in run.stderr
    assert 'model.outputs is "' in run.stderr


def test_evaluate_takes_two_classes_of_one_output(tmp_path):
    model, images, labels = network(Dense(1), shape=(6, 6, 1)), pictures(50, (6, 6, 1)), np.arange(50) % 2
    model.outputs, model.pictures = "labels", "whole"
    tinycnn.save(model, tmp_path / "model.safetensors")
    np.savez(tmp_path / "two.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    out = run_here("evaluate", "model.safetensors", "--dataset", "two.npz", folder=tmp_path).stdout
    z = scores(model, images)[:, 0]
    loss = np.mean(np.logaddexp(0, z) - labels * z)
    assert f"accuracy {100 * np.mean((z > 0) == labels):.2f} %, loss {loss:.4f}" in out


@pytest.mark.parametrize("explained", [explain.trace_step, explain.nudge, explain.practise])
def test_what_explains_the_loss_of_classes_refuses_labels(explained):
    more = ("dense_1.bias", (0,)) if explained is explain.nudge else ()
    with pytest.raises(SettingError, match=f"^{explained.__name__} explains softmax_cross_entropy, the loss of a"):
        explained(network(Dense(3), Sigmoid()), pictures(1)[0], 0, *more)


def test_a_trace_leaves_a_final_sigmoid_to_the_loss_as_training_does():
    model, images = network(Dense(3), Sigmoid()), pictures(1)
    model.outputs = "classes"
    trace = explain.trace_step(model, images[0], 1)
    np.testing.assert_allclose(trace.probabilities, softmax(scores(model, images)[0]), rtol=1e-5)


# --------------------------------------------------------------------------------------------------------- the pictures


def drawn(count, size=28):
    """Light strokes, prepared as drawings of digits are."""
    rng, images = np.random.default_rng(1), []
    for _ in range(count):
        sheet = np.ones((60, 60))
        sheet[8:50, 20 : 24 + rng.integers(6)] = 0
        sheet[40:46, 10 : 40 + rng.integers(8)] = 0
        images.append(normalise(sheet, (size, size))[0])
    return np.stack(images)


SHAPES = np.pad(np.full((20, 16, 16, 1), 255, np.uint8), ((0, 0), (2, 14), (3, 13), (0, 0)))  # off the centre
FROM = {
    "drawings": (drawn(20), "drawing"),
    "smaller drawings": (drawn(20, 20), "drawing"),
    "standardised drawings": (((drawn(20) / 255 - 0.13) / 0.31).astype(np.float32), "drawing"),
    "shapes": (SHAPES, "whole"),
    "drawings off the centre": (np.roll(drawn(20), 4, axis=1), "whole"),
    "dark on light": (255 - drawn(20), "whole"),
    "drawings that fill the picture": (np.repeat(np.repeat(drawn(20)[:, 4:24, 4:24], 2, 1), 2, 2), "whole"),
    "noise": (pictures(20, (28, 28, 1)), "whole"),
    "blank": (np.zeros((20, 28, 28, 1), np.uint8), "whole"),
}


@pytest.mark.parametrize("name", FROM)
def test_fit_states_how_pictures_are_prepared(name):
    images, expected = FROM[name]
    model = network(Dense(3), shape=images.shape[1:])
    model.fit(images, np.arange(20) % 3, progress=False)
    assert model.metadata()["pictures"] == expected


def test_fit_keeps_what_is_stated_and_a_new_head_forgets_it():
    model = network(Dense(10), shape=(32, 32, 1))
    assert model.pictures == "drawing"  # ten digits, as long as nothing is stated
    model.pictures = "drawing"
    model.fit(SHAPES[:, :32, :32], np.arange(20) % 10, progress=False)
    assert model.pictures == "drawing"
    other = model.with_head(3)
    other.fit(SHAPES, np.arange(20) % 3, progress=False)
    assert other.pictures == "whole"


def test_an_own_network_reads_its_own_pictures_from_files(tmp_path):
    """Squares and bars, off the centre: cut out and centred as digits, each would fill the picture in its own way."""
    from PIL import Image

    kinds = np.zeros((2, 24, 24), np.uint8)
    kinds[0, 3:9, 4:10] = kinds[1, 14:20, 12:18] = 255  # the same square, in two places
    model = network(Dense(2), shape=(24, 24, 1))
    model.fit(np.repeat(kinds, 10, 0)[..., None], np.repeat([0, 1], 10), epochs=20, lr=0.01, progress=False)
    tinycnn.save(model, tmp_path / "own.safetensors")
    again = tinycnn.load(tmp_path / "own.safetensors")
    for k, kind in enumerate(kinds):
        Image.fromarray(kind).resize((96, 96)).save(tmp_path / f"{k}.png")
        assert again.predict(data.load_picture(tmp_path / f"{k}.png", again)).argmax() == k


def test_predict_says_that_it_guesses_and_takes_an_option(tmp_path, caplog):
    printed(network(Dense(3), shape=(6, 6, 1)), tmp_path)
    model = tinycnn.load(tmp_path / "model.safetensors")
    model.pictures = None
    tinycnn.save(model, tmp_path / "model.safetensors")
    words = "predict", "model.safetensors", "grey.png"
    run = run_here(*words, folder=tmp_path)
    assert run.stderr == (
        "NOTICE: the model file does not state how pictures are prepared: they are taken whole; for digits, cut out "
        "and centred as in MNIST, pass --pictures drawing\n"
    )
    assert (run.returncode, caplog.records) == (0, [])
    drawing = run_here(*words, "--pictures", "drawing", folder=tmp_path)
    assert drawing.returncode == 2
    assert "nothing is drawn on it" in drawing.stderr
