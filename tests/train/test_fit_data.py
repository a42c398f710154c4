"""What ``fit`` takes as data: floats, one-hot labels, batches of iterables, tensors of other libraries."""

import re

import numpy as np
import pytest

from tests.support.thread_ranks import on_ranks
from tests.train.test_long_runs import after, bits
from tests.train.test_trainer import make_trainer, sides
from tinycnn.backends import get_backend
from tinycnn.data import split_validation
from tinycnn.data.augment import Affine
from tinycnn.errors import BackendError, DataError, SettingError
from tinycnn.explain import activations
from tinycnn.layers import Dense, Flatten, Sequential
from tinycnn.optim import SGD
from tinycnn.train.checkpoint import Checkpoints, TrainingStopped
from tinycnn.train.divergence import TrainingDivergedError
from tinycnn.train.evaluation import evaluate, predict_logits
from tinycnn.train.shape_hints import shape_message
from tinycnn.train.trainer import Trainer

IMAGES, LABELS = sides(40)


def fitted(images=IMAGES, labels=LABELS, epochs=2, trainer=None, **settings):
    trainer = trainer or make_trainer()
    trainer.fit(images, labels, epochs=epochs, **settings)
    return bits(trainer)


def plain(pixels="0..1"):
    """A trainer without shuffling: one batch of the whole set."""
    model = Sequential(Flatten(), Dense(2), input_shape=(8, 8, 1))
    model.pixels = pixels
    return Trainer(model, SGD(model.parameters(), 0.1), batch_size=40)


# --------------------------------------------------------------------------------------------------------------- floats


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_from_0_to_1_are_the_pixels(dtype):
    fractions = (IMAGES / 255).astype(dtype)
    trainer, expected = plain(), plain()
    trainer.fit(fractions, LABELS, epochs=1)
    expected.fit(IMAGES, LABELS, epochs=1)
    tolerance = {"rtol": 1e-2, "atol": 2e-3} if dtype == np.float16 else {"rtol": 1e-4, "atol": 1e-6}
    for name, array in expected.model.state_dict().items():
        np.testing.assert_allclose(trainer.model.state_dict()[name], array, **tolerance)
    logits = predict_logits(expected.model, IMAGES)
    np.testing.assert_allclose(predict_logits(expected.model, fractions), logits, **tolerance)
    assert evaluate(expected.model, fractions, LABELS).loss == pytest.approx(
        evaluate(expected.model, IMAGES, LABELS).loss, rel=tolerance["rtol"]
    )


def test_floats_are_in_the_range_that_the_network_states():
    floats, bytes_ = plain("0..255"), plain("0..255")
    floats.fit(IMAGES.astype(np.float32), LABELS, epochs=1)
    bytes_.fit(IMAGES, LABELS, epochs=1)
    assert bits(floats) == bits(bytes_)


def test_standardised_images_are_taken_as_they_are():
    standardised = ((IMAGES - IMAGES.mean()) / IMAGES.std()).astype(np.float32)
    trainer = plain()
    trainer.fit(standardised, LABELS, epochs=1)
    batch = trainer.sampler.batch(standardised, LABELS, np.arange(5), 1, 0)
    np.testing.assert_array_equal(trainer.training_step.pixels(batch, slice(None)), standardised[:5])


@pytest.mark.usefixtures("backend")
def test_augmented_floats_are_warped_as_bytes_are():
    fractions = (IMAGES / 255).astype(np.float32)
    if get_backend().xp is not np:
        with pytest.raises(BackendError, match="augmentation on a GPU is for uint8 images, these are float32"):
            fitted(fractions, trainer=make_trainer(augment=Affine()))
        return
    trainers = [make_trainer(augment=Affine()) for _ in range(2)]
    pixels = [
        trainer.training_step.pixels(trainer.sampler.batch(images, LABELS, np.arange(9), 1, 0), slice(None))
        for trainer, images in zip(trainers, (IMAGES, fractions), strict=True)
    ]
    np.testing.assert_allclose(pixels[0], pixels[1], atol=1e-6)


def test_the_outputs_of_layers_are_those_of_the_same_image_as_floats():
    model = plain().model
    for name, output in activations(model, IMAGES[0]).items():
        np.testing.assert_allclose(activations(model, IMAGES[0] / 255)[name], output, rtol=1e-4, atol=1e-6)


def with_number(number, *places):
    images = (IMAGES / 255).astype(np.float32)
    for place in places:
        images[place, 3, 3] = number
    return images


SHAPES = {  # of an array that is passed → what is done to it where the network takes (8, 8, 3) or (8, 8, 1)
    (8, 8, 3): ((8, 8, 3), "images[None]"),
    (8, 8): ((8, 8, 1), "images[None, ..., None]"),
    (5, 8, 8): ((8, 8, 3), "np.repeat(images[..., None], 3, axis=-1)"),
    (5, 8, 8, 1): ((8, 8, 3), "np.repeat(images, 3, axis=-1)"),
    (5, 8, 8, 3): ((8, 8, 1), "images.mean(axis=-1, keepdims=True).astype(images.dtype)"),
    (5, 8, 8, 4): ((8, 8, 3), "images[..., :3]"),
    (5, 3, 8, 8): ((8, 8, 3), "images.transpose(0, 2, 3, 1)"),
    (5, 64): ((8, 8, 1), "images.reshape(-1, 8, 8, 1)"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_change_that_an_error_proposes_makes_the_images_fit(shape):
    wanted, change = SHAPES[shape]
    images = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    message = shape_message(shape, wanted)
    assert change in message
    assert eval(change).shape[1:] == wanted
    network = Sequential(Flatten(), Dense(2), input_shape=wanted)
    with pytest.raises(DataError, match=re.escape(message)):
        network.predict(images)
    assert network.predict(eval(change)).shape[1] == 2


def test_other_images_are_described():
    size = "so scale them to 8x8 pixels, or create the network with `input_shape=(9, 9, 1)`."
    assert shape_message((5, 9, 9, 1), (8, 8, 1)) == f"images have shape (9, 9, 1): the network takes (8, 8, 1), {size}"
    assert shape_message((5, 2, 2, 2), (8, 8, 1)) == "images have shape (2, 2, 2): the network takes (8, 8, 1)."
    assert shape_message((5, 3), (4,)) == "images have shape (3,): the network takes (4,)."


def test_other_integers_are_bytes():
    assert fitted(IMAGES.astype(np.int64))[0] == fitted()[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda x: x.astype(np.float64),
            r"images are float64, from 0 to 19\d, but the network takes pixels 0",
        ),
        (lambda x: x + 0.25, r"from 0.25 to 19\d.25, but the network takes pixels 0\.\.1"),
        (lambda x: np.where(x > 190, np.nan, x / 255), "images contain NaN or infinity, first in images"),
        (
            lambda x: with_number(np.inf, 7, 9),
            r"2 of 40 images contain NaN or infinity, first in images\[7\]:",
        ),
        (lambda x: x.astype(np.int32) * 2, "expected bytes, 0 to 255, or floats from 0 to 1"),
        (lambda x: x.astype(np.int32) - 50, "images are int32, from -50"),
        (lambda x: x > 99, r"truth values: convert them with images\.astype"),
        (np.ma.array, r"images are a masked array, .*: pass images\.filled\(0\)"),
        (
            lambda x: x[..., 0],
            r"the network takes \(8, 8, 1\), so add the channel with images\[\.\.\., None\]",
        ),
        (
            lambda x: x.transpose(0, 3, 1, 2),
            r"takes \(8, 8, 1\), so put the channels last: images\.transpose\(0, 2, 3, 1\)",
        ),
    ],
)
def test_images_that_would_be_misread_are_refused(change, words):
    images = IMAGES.copy()
    images[0, 0, 0, 0] = 0
    for work in (lambda x: fitted(x), lambda x: predict_logits(make_trainer().model, x)):
        with pytest.raises(DataError, match=words):
            work(change(images))


# --------------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("labels", [np.eye(2)[LABELS], np.eye(2, dtype=bool)[LABELS], LABELS.tolist(), LABELS[:, None]])
def test_labels_of_other_forms(labels):
    assert fitted(labels=labels, validation=(IMAGES, labels)) == fitted(validation=(IMAGES, LABELS))
    assert evaluate(make_trainer().model, IMAGES, labels) == evaluate(make_trainer().model, IMAGES, LABELS)


def test_truth_values_are_two_classes():
    assert fitted(labels=LABELS == 1) == fitted()


WRONG_LABELS = {  # labels of two classes → the message, and the change that it proposes
    "text": (np.array(["a", "b"])[LABELS], "labels are <U1 (40,): expected class numbers", True),
    "objects": (np.array(["a", "b"], object)[LABELS], "labels are object (40,): expected class numbers", True),
    "floats": (LABELS.astype(float), "labels are float64 (40,): expected integers. Pass labels.astype(int).", True),
    "measurements": (LABELS + 0.5, 'expected integers. For numbers that are not classes, pass `loss="mse', False),
    "from 1": (LABELS + 1, "from 1 to 2, but the network has 2 outputs, for the classes 0 to 1: pass labels - 1", True),
    "-1 and 1": (2 * LABELS - 1, "labels range from -1 to 1, but the network has 2 outputs", True),
    "even": (2 * LABELS, "for the classes 0 to 1: end it with Dense(3), or number the classes anew.", True),
    "rows": (np.ones((40, 2)), 'class numbers. For several labels per image, pass `loss="binary_', False),
    "masked": (np.ma.array(LABELS), "labels are a masked array: leave out the images without a label", False),
    "images": (np.zeros((40, 2, 2)), "labels are float64 (40, 2, 2): expected class numbers (M,).", False),
}


@pytest.mark.parametrize("case", WRONG_LABELS)
def test_wrong_labels_are_refused_with_the_change_that_repairs_them(case):
    labels, words, is_repaired = WRONG_LABELS[case]
    for work in (
        lambda: fitted(labels=labels),
        lambda: fitted(validation=(IMAGES, labels)),
        lambda: fitted([(IMAGES, labels)], None),
        lambda: evaluate(make_trainer().model, IMAGES, labels),
    ):
        with pytest.raises(DataError, match=re.escape(words)) as raised:
            work()
    change = re.search(r"labels - 1|labels\.astype\(int\)|np\.unique\(.*\)\[1\]", str(raised.value))
    assert bool(change) == is_repaired
    if change:
        assert fitted(labels=eval(change[0])) == fitted()


def test_one_output_for_two_classes():
    model = Sequential(Flatten(), Dense(1), input_shape=(8, 8, 1))
    with pytest.raises(DataError, match=r"0 to 1, but the network has 1 output, .*, or end it with Dense\(2\)"):
        Trainer(model, SGD(model.parameters(), 0.1), batch_size=40).fit(IMAGES, LABELS, epochs=1)


class Tensor:
    """A tensor of another library: it becomes an array when asked, and has no ``ndim``."""

    def __init__(self, array, error=None):
        self.array, self.error = array, error

    def __array__(self, dtype=None, copy=None):
        if self.error:
            raise self.error
        return self.array

    def __len__(self):
        return len(self.array)


def test_tensors_of_other_libraries():
    assert fitted(Tensor(IMAGES), Tensor(LABELS)) == fitted()
    on_a_gpu = Tensor(IMAGES, TypeError("can't convert cuda:0 device type tensor to numpy"))
    with pytest.raises(DataError, match="images are a Tensor that is no array: can't convert cuda:0"):
        fitted(on_a_gpu)


# -------------------------------------------------------------------------------------------------------------- batches


class Loader:
    """Batches in a fixed order, as a DataLoader without shuffling; ``opened`` counts the passes."""

    def __init__(self, images=IMAGES, labels=LABELS, size=16, has_length=True):
        self.batches = [(images[i : i + size], labels[i : i + size]) for i in range(0, len(labels), size)]
        self.opened = 0
        if not has_length:
            self.__class__ = LoaderWithoutLength

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        self.opened += 1
        return iter(self.batches)


class LoaderWithoutLength(Loader):
    def __len__(self):
        raise TypeError("unknown")


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("has_length", [True, False])
def test_an_epoch_is_one_pass_over_an_iterable(has_length, monkeypatch):
    """It trains on the same batches as arrays in the same order do."""
    expected = make_trainer()
    monkeypatch.setattr("tinycnn.train.batches.Sampler.order", lambda self, images, epoch: np.arange(len(images)))
    by_arrays = expected.fit(IMAGES, LABELS, epochs=2, validation=(IMAGES, LABELS))
    seen, loader, trainer = [], Loader(has_length=has_length), make_trainer()
    history = trainer.fit(
        loader, epochs=2, validation=Loader(size=7), progress=lambda p: seen.append((p.step, p.steps, p.seen))
    )
    assert bits(trainer) == bits(expected)
    assert seen == [(step, 3 * has_length, min(16 * step, 40)) for _ in (1, 2) for step in (1, 2, 3)]
    assert history[0].images_per_s == pytest.approx(40 / history[0].epoch_s)
    assert (loader.opened, len(by_arrays)) == (2, 2)


def test_steps_per_epoch_continue_through_the_iterable():
    seen, loader = [], Loader(size=10)  # four batches
    trainer = make_trainer()
    step = trainer.step
    trainer.step = lambda images, *more: seen.append(images[0, 0, 0, 0]) or step(images, *more)
    trainer.fit(loader, epochs=2, steps_per_epoch=3)
    assert seen == [IMAGES[i, 0, 0, 0] for i in (0, 10, 20, 30, 0, 10)]
    assert loader.opened == 2


def test_a_generator_with_its_number_of_steps():
    def generator():
        while True:
            yield from Loader().batches

    assert fitted(generator(), None, steps_per_epoch=3)[1] == fitted(Loader(), None)[1]


@pytest.mark.parametrize(
    ("images", "settings", "kind", "words"),
    [
        (lambda: iter(Loader()), {}, SettingError, "a generator has no length: pass `steps_per_epoch`"),
        (lambda: iter(Loader()), {"steps_per_epoch": 2}, DataError, "the batches ended within an epoch"),
        (lambda: [], {}, DataError, "the iterable of batches is empty"),
        (lambda: [], {"steps_per_epoch": 2}, DataError, "the batches ended within an epoch"),
        (Loader, {"steps_per_epoch": 0}, SettingError, "`steps_per_epoch=0`: expected a positive integer"),
        (Loader, {"validation_split": 0.1}, SettingError, "`validation_split` is for arrays"),
        (Loader, {"sample_weight": np.ones(40)}, SettingError, "`sample_weight` is for arrays"),
        (lambda: [IMAGES], {}, DataError, r"a batch is a ndarray: expected a pair \(images, labels\)"),
        (lambda: [(IMAGES, LABELS, LABELS)], {}, DataError, "a batch is a tuple of 3: expected a pair"),
        (lambda: Loader(IMAGES.transpose(0, 3, 1, 2)), {}, DataError, r"images\.permute\(0, 2, 3, 1\)"),
        (lambda: Loader(IMAGES.astype(float)), {}, DataError, "but the network takes pixels 0..1"),
        (lambda: IMAGES, {}, SettingError, "`labels` are missing"),
        (lambda: "images", {}, SettingError, "`labels` are missing"),
    ],
)
def test_batches_that_cannot_be_trained_on(images, settings, kind, words):
    with pytest.raises(kind, match=words):
        fitted(images(), None, **settings)


def test_steps_per_epoch_is_not_for_arrays():
    with pytest.raises(SettingError, match="`steps_per_epoch` is for generators"):
        fitted(steps_per_epoch=3)


def test_several_ranks_take_no_batches():
    with pytest.raises(SettingError, match="several ranks share each batch: pass arrays"):
        on_ranks(2, lambda rank: fitted(Loader(), None))


def test_a_stopped_pass_over_an_iterable_continues_at_its_step(tmp_path):
    trainer = make_trainer()
    with pytest.raises(TrainingStopped):
        trainer.fit(Loader(), epochs=2, checkpoints=Checkpoints(tmp_path), stop=after(4)(trainer))
    checkpoints = Checkpoints(tmp_path, resume=True, report=lambda _: None)
    assert fitted(Loader(), None, checkpoints=checkpoints) == fitted(Loader(), None)


@pytest.mark.parametrize("has_length", [True, False])
def test_diverged_batches_are_named_and_undone(has_length):
    trainer = make_trainer()
    trainer.optimizer = SGD(trainer.model.parameters(), lr=1e38)
    before = trainer.model.state_dict()
    words = r"no longer finite between steps 1 and 3 of epoch 1 \(learning rate 1e\+38\): try a smaller `lr`"
    with pytest.raises(TrainingDivergedError, match=words):
        trainer.fit(Loader(has_length=has_length), epochs=1)
    assert all(np.array_equal(before[name], array) for name, array in trainer.model.state_dict().items())


# ----------------------------------------------------------------------------------------------------------- validation


def test_a_validation_split_is_that_of_the_command():
    x, y, x_valid, y_valid = split_validation(IMAGES, LABELS, 0.25, seed=0)
    assert fitted(validation_split=0.25) == fitted(x, y, validation=(x_valid, y_valid))


def test_weights_are_split_as_their_images_are():
    weights = np.arange(1, 41.0)
    x, y, x_valid, y_valid = split_validation(IMAGES, LABELS, 0.25, seed=0)
    own, _, held, _ = split_validation(weights, LABELS, 0.25, seed=0)
    expected = fitted(x, y, validation=(x_valid, y_valid), sample_weight=own, validation_weight=held)
    assert fitted(validation_split=0.25, sample_weight=weights) == expected
    with pytest.raises(SettingError, match="`sample_weight` has shape"):
        fitted(validation_split=0.25, sample_weight=weights[:9])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"validation_split": 0.1, "validation": (IMAGES, LABELS)}, "both give validation images"),
        ({"validation_split": 1.5}, "validation fraction: got 1.5"),
        ({"validation_split": "a tenth"}, "`validation_split` is 'a tenth': expected a fraction"),
        ({"validation": (IMAGES,)}, r"`validation` is .*: expected a pair \(images, labels\), an iterable of batches"),
        ({"validation": 0.1}, "`validation` is 0.1: expected a pair"),
    ],
)
def test_validation_that_is_none(settings, words):
    with pytest.raises(SettingError, match=words):
        fitted(**settings)


def test_recorded_steps_say_why_batches_are_not_recorded():
    from tinycnn.train.capture import reason_not_recordable
    from tinycnn.train.stream import BatchStream

    trainer = make_trainer()
    stream = BatchStream(Loader(), None, trainer.model, trainer.objective)
    assert reason_not_recordable(trainer.training_step, stream) == "the batches come from an iterable"
    assert get_backend().recorder is None or trainer.why_eager
