"""The training loop: every image once per epoch, exact averages, reproducible runs, and an error when one diverges."""

import copy
import math
import pickle
import re
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.thread_ranks import on_ranks
from tinycnn import models
from tinycnn.backends import get_backend
from tinycnn.backends.base import warp_terms
from tinycnn.data.augment import NAMES, Affine, AlternatingFlip, Elastic, Fade, FlipAndCrop, named, reflects
from tinycnn.data.stored import StoredImages
from tinycnn.errors import DataError, SettingError, TinyCNNError
from tinycnn.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU, Rescaling, Sequential
from tinycnn.optim import SGD, Adam, cosine
from tinycnn.run.progress import PlainLines, progress_display
from tinycnn.saving.state_file import fingerprint
from tinycnn.train.batches import Sampler, normalised_weights
from tinycnn.train.callbacks import ProgressBar
from tinycnn.train.divergence import TrainingDivergedError, evaluate_finite
from tinycnn.train.evaluation import EVALUATION_BATCH, Scores, evaluate, predict_logits
from tinycnn.train.history import EpochResult, History, Progress
from tinycnn.train.trainer import Trainer
from tinycnn.train.warm_up import warm_up


def sides(count, seed=0):
    """Images (8, 8, 1) that are bright on the left (class 0) or on the right (class 1), with noise everywhere."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    images = rng.integers(0, 100, (count, 8, 8, 1), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += 100
    return images, labels


def make_trainer(seed=0, lr=0.01, batch_size=16, schedule=None, **settings):
    layers = Conv2d(4), BatchNorm(), ReLU(), MaxPool2d(), Flatten(), Dropout(0.2), Dense(2)
    model = Sequential(*layers, input_shape=(8, 8, 1), seed=seed)
    optimizer = Adam(model.parameters(), lr=lr, schedule=schedule)
    return Trainer(model, optimizer, batch_size=batch_size, seed=seed, **settings)


def pixels(trainer, images, epoch=1):
    """The input of the network of ``trainer`` in a step on the first five of ``images``."""
    asarray = get_backend().asarray
    batch = trainer.sampler.batch(
        asarray(images), asarray(np.zeros(len(images), int)), asarray(np.arange(5)), epoch, trainer.optimizer.step_count
    )
    return trainer.training_step.pixels(batch, slice(None))


def record_batches(trainer):
    """The image indices of every step, in the trainer's order."""
    batches, step = [], trainer.step

    def recording(images, labels, chosen, epoch=1):
        batches.append(np.array(chosen))
        return step(images, labels, chosen, epoch)

    trainer.step = recording
    return batches


# ------------------------------------------------------------------------------------------------------------ learning


@pytest.mark.usefixtures("backend")
def test_a_tiny_network_learns_an_easy_task():
    trainer, (images, labels) = make_trainer(), sides(200)
    results = trainer.fit(images, labels, epochs=5, validation=sides(100, seed=1))
    assert [result.epoch for result in results] == [1, 2, 3, 4, 5]
    assert results[-1].train_loss < results[0].train_loss
    assert results[-1].validation_accuracy > 0.95
    assert evaluate(trainer.model, *sides(100, seed=2)).accuracy > 0.95


@pytest.mark.parametrize("batch_size", [1, 7, 16, 33, 100])
def test_every_image_is_used_exactly_once_per_epoch(batch_size):
    trainer, (images, labels) = make_trainer(batch_size=batch_size), sides(33)
    batches = record_batches(trainer)
    trainer.fit(images, labels, epochs=2)
    steps = math.ceil(33 / batch_size)
    assert len(batches) == 2 * steps == trainer.optimizer.step_count
    for epoch in (batches[:steps], batches[steps:]):
        assert sorted(np.concatenate(epoch)) == list(range(33))
        assert [len(batch) for batch in epoch[:-1]] == [batch_size] * (steps - 1)
        assert len(epoch[-1]) == 33 - batch_size * (steps - 1)


def orders(seed, epochs=2):
    trainer, (images, labels) = make_trainer(seed=seed), sides(40)
    batches = record_batches(trainer)
    trainer.fit(images, labels, epochs=epochs)
    return np.concatenate(batches).reshape(epochs, 40).tolist()


def test_shuffles_depend_on_seed_and_epoch_alone():
    first, second = orders(seed=0)
    assert first != second
    assert orders(seed=0) == [first, second]
    assert orders(seed=1)[0] != first
    assert first != sorted(first)


def test_an_epoch_can_be_resumed():
    trainer, (images, labels) = make_trainer(seed=0), sides(40)
    batches = record_batches(trainer)
    trainer.train_epoch(images, labels, epoch=2)
    assert np.concatenate(batches).tolist() == orders(seed=0)[1]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("settings", [{}, {"augment": Affine(), "label_smoothing": 0.1}], ids=["plain", "augmented"])
def test_the_same_seed_twice_gives_the_same_bits(settings):
    def train(seed):
        trainer, (images, labels) = make_trainer(seed=seed, schedule=cosine(12), **settings), sides(50)
        results = trainer.fit(images, labels, epochs=3, validation=sides(20, seed=1))
        numbers = [(r.train_loss, r.train_accuracy, r.validation_loss, r.validation_accuracy) for r in results]
        return numbers, trainer.model.state_dict()

    (numbers, state), (numbers_again, state_again), (others, _) = train(0), train(0), train(1)
    assert numbers == numbers_again
    assert all(np.array_equal(state[name], state_again[name]) for name in state)
    assert numbers != others


def test_fit_trains_when_it_is_called():
    (trainer, twin), data = (make_trainer(), make_trainer()), sides(20)
    history = trainer.fit(*data, epochs=2, validation=sides(20, seed=1))
    assert trainer.optimizer.step_count == 4
    assert [result.epoch for result in history] == [1, 2]
    later = trainer.fit(*data, epochs=3)
    assert [result.epoch for result in later] == [3]  # of this call
    assert trainer.history == [*history, *later]
    twin_results = list(twin.epochs(*data, epochs=2, validation=sides(20, seed=1)))
    assert history.column("train_loss") == [result.train_loss for result in twin_results]


def test_the_columns_of_a_history():
    history = History([EpochResult(n, n / 4, 0.5, loss, None, 1.0, 2.0) for n, loss in enumerate([3.0, 1.0, 1.0], 1)])
    assert history.column("validation_loss") == [3.0, 1.0, 1.0]
    columns = history.to_dict()
    assert (columns["epoch"], columns["train_loss"]) == ([1, 2, 3], [0.25, 0.5, 0.75])
    assert history.best is history[1]
    assert History().best is None
    with pytest.raises(AttributeError, match=r"'History' object has no attribute 'history': use `to_dict\(\)`, or"):
        history.history  # noqa: B018  (as with Keras)
    assert copy.deepcopy(history) == pickle.loads(pickle.dumps(history)) == history
    with pytest.raises(SettingError, match="no column 'loss': it is 'train_loss'"):
        history.column("loss")


def test_epochs_yields_after_each_epoch():
    trainer, (images, labels) = make_trainer(), sides(20)
    run = trainer.epochs(images, labels, epochs=3)
    assert trainer.optimizer.step_count == 0
    for epoch in (1, 2, 3):
        result = next(run)
        assert isinstance(result, EpochResult)
        assert (result.epoch, trainer.optimizer.step_count) == (epoch, 2 * epoch)
        assert result.epoch_s > 0
        assert result.images_per_s == pytest.approx(20 / result.epoch_s)
    with pytest.raises(StopIteration):
        next(run)


@pytest.mark.parametrize("validation", [None, sides(0)], ids=["none", "empty"])
def test_without_validation_its_scores_are_none(validation):
    trainer, (images, labels) = make_trainer(), sides(20)
    (result,) = trainer.fit(images, labels, epochs=1, validation=validation)
    assert result.validation_loss is result.validation_accuracy is None


def test_validation_does_not_change_the_network():
    states = []
    for validation in (None, sides(30, seed=1)):
        trainer, (images, labels) = make_trainer(), sides(40)
        trainer.fit(images, labels, epochs=2, validation=validation)
        states.append(trainer.model.state_dict())
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


def test_the_training_scores_are_those_of_the_batches():
    """With a learning rate near zero, the running means equal those of one pass over the whole set."""
    images, labels = sides(45)
    model = Sequential(Flatten(), Dense(2), input_shape=(8, 8, 1))
    trainer = Trainer(model, SGD(model.parameters(), lr=1e-30), batch_size=16)
    scores = trainer.train_epoch(images, labels, epoch=1)
    whole = evaluate(model, images, labels)
    assert scores.loss == pytest.approx(whole.loss, rel=1e-6)
    assert scores.accuracy == whole.accuracy


def test_gradients_are_reset_in_every_step():
    images, labels = sides(10)
    states = []
    for leftover in (None, 1000.0):
        trainer = make_trainer()
        for parameter in trainer.model.parameters():
            parameter.grad = None if leftover is None else np.full_like(parameter.data, leftover)
        trainer.step(images, labels, np.arange(10))
        states.append(trainer.model.state_dict())
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_at_least_one_image(batch_size):
    with pytest.raises(SettingError, match="expected a positive integer"):
        make_trainer(batch_size=batch_size)


MODEL = Sequential(Flatten(), Dense(2), input_shape=(8, 8, 1))
IMAGES, LABELS = sides(4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 2.5}, "`batch_size=2.5`: expected a positive integer"),
        ({"batch_size": True}, "batch_size=True"),
        ({"batch_size": float("nan")}, "batch_size=nan"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1.5}, "seed=1.5"),
        ({"model": "lenet"}, "`model` is a str: expected a network"),
        ({"model": Dense(2)}, "`model` is a Dense"),
        ({"optimizer": "adam"}, "`optimizer` is 'adam': expected an optimizer, such as tinycnn.optim.Adam"),
        ({"optimizer": Adam}, "`optimizer` is <class"),
        (
            {"augment": "flip"},
            r"`augment` is 'flip': expected 'affine', 'flip_and_crop', 'alternating_flip', or an augmentation of "
            r"tinycnn\.data\.augment, such as Affine\(\) for drawings or FlipAndCrop\(\) for photographs, or None",
        ),
        ({"fade": 0.5}, "`fade` is 0.5: expected a Fade or None"),
        ({"clip_norm": -1}, "clip_norm=-1"),
    ],
)
def test_a_trainer_is_made_of_its_parts(settings, words):
    """When it is made, not in the first step."""
    settings = {"model": MODEL, "optimizer": SGD(MODEL.parameters()), "batch_size": 4} | settings
    with pytest.raises(SettingError, match=words):
        Trainer(settings.pop("model"), settings.pop("optimizer"), **settings)


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"epochs": 2.5}, SettingError, "`epochs=2.5`: expected a non-negative integer"),
        ({"epochs": -1}, SettingError, "epochs=-1"),
        ({"early_stopping": 0, "validation": sides(4)}, SettingError, "early_stopping=0"),
        (
            {"images": IMAGES.tolist()},
            DataError,
            r"images are a list: expected a NumPy array\. Pass numpy\.stack\(images\)\.$",
        ),
        ({"images": "a.png"}, DataError, r"images are a str: .* pass tinycnn\.data\.load_picture\(path, model\)\.$"),
        ({"labels": list("abcd")}, DataError, "labels are <U1"),
        ({"labels": "abcd"}, DataError, "labels are a str: expected a NumPy array"),
        ({"images": IMAGES[:, 1:]}, DataError, r"images have shape \(7, 8, 1\): the network takes \(8, 8, 1\)"),
        ({"validation": (IMAGES[:, 1:], LABELS)}, DataError, r"images have shape \(7, 8, 1\)"),
        (
            {"sample_weight": [1, 2]},
            SettingError,
            r"`sample_weight` has shape \(2,\): expected one number for each of 4",
        ),
        ({"sample_weight": [1, 2, 3, -1]}, SettingError, "`sample_weight`: expected finite numbers of at least 0"),
        ({"sample_weight": [1, 2, 3, float("inf")]}, SettingError, "`sample_weight`: expected finite numbers"),
        ({"sample_weight": [0] * 4}, SettingError, "one above 0"),
        ({"sample_weight": "balanced"}, SettingError, "`sample_weight` is 'balanced': expected numbers"),
        ({"validation_weight": [1], "validation": sides(2)}, SettingError, r"`validation_weight` has shape \(1,\)"),
    ],
)
def test_fit_refuses_before_it_trains(settings, kind, words):
    """At the call, not when the results are asked for."""
    settings = {"images": IMAGES, "labels": LABELS, "epochs": 1} | settings
    with pytest.raises(kind, match=words):
        Trainer(MODEL, SGD(MODEL.parameters()), batch_size=np.int64(4)).fit(
            settings.pop("images"), settings.pop("labels"), **settings
        )


def test_weights_of_images_on_the_disk_are_refused():
    with pytest.raises(SettingError, match="`sample_weight` weights images in memory"):
        normalised_weights("sample_weight", [1], StoredImages.__new__(StoredImages))


def weighted_run(rank=None):
    """Two epochs with weights; the last step of an epoch has one image, so with two ranks one shard is empty."""
    model = Sequential(Flatten(), Dense(2), input_shape=(8, 8, 1))
    trainer = Trainer(model, SGD(model.parameters(), lr=0.1), batch_size=8, seed=1)
    images, labels = sides(17)
    weights = np.arange(17) % 5
    results = trainer.fit(images, labels, epochs=2, sample_weight=weights, validation=(images, labels))
    return results[-1], model


def test_several_ranks_weigh_as_one():
    alone, model = weighted_run()
    for result, other in on_ranks(2, weighted_run):
        assert result.train_loss == pytest.approx(alone.train_loss, rel=1e-5)
        for name, array in other.state_dict().items():
            np.testing.assert_allclose(array, model.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_a_trainer_can_be_pickled_and_goes_on_to_the_same_bits():
    trainer, data = make_trainer(schedule=cosine(9), augment=Affine()), sides(40)
    trainer.fit(*data, epochs=1)
    copies = pickle.loads(pickle.dumps(trainer)), copy.deepcopy(trainer)
    for one in (trainer, *copies):
        one.fit(*data, epochs=2)
    for one in copies:
        assert one.history[-1].train_loss == trainer.history[-1].train_loss
        assert fingerprint(*one.model.state_dict().values()) == fingerprint(*trainer.model.state_dict().values())


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_label_smoothing_out_of_range_raises(share):
    with pytest.raises(SettingError, match="label_smoothing"):
        make_trainer(label_smoothing=share)


@pytest.mark.parametrize("name", NAMES)
def test_an_augmentation_has_the_name_of_the_command(name):
    assert make_trainer(augment=name).augment == named(name)


def test_augmented_batches_differ_from_epoch_to_epoch_but_not_from_run_to_run(backend):
    images = sides(20)[0]

    def batch(epoch, augment):
        return backend.to_host(pixels(make_trainer(augment=augment), images, epoch))

    plain, first, again, second = batch(1, None), batch(1, Affine()), batch(1, Affine()), batch(2, Affine())
    np.testing.assert_allclose(plain, images[:5] / np.float32(255), rtol=1e-6)
    assert first.shape == plain.shape
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, plain)


@pytest.mark.usefixtures("backend")
def test_bent_batches_depend_on_seed_epoch_and_step_alone():
    images = sides(20)[0]

    def batch(seed, epoch, step):
        trainer = make_trainer(augment=Elastic(bend=1.5))
        trainer.seed, trainer.optimizer.step_count = seed, step
        return pixels(trainer, images, epoch)

    first, *others = (
        get_backend().to_host(batch(*key)) for key in [(0, 1, 0), (0, 1, 0), (1, 1, 0), (0, 2, 0), (0, 1, 1)]
    )
    assert [np.array_equal(first, other) for other in others] == [True, False, False, False]


def test_an_elastic_map_begins_with_the_affine_one():
    affine, elastic = (kind().maps(7, np.random.default_rng(3)) for kind in (Affine, Elastic))
    assert (affine.shape, elastic.shape, elastic.dtype) == ((7, 2, 3), (7, 2, 18), np.float32)
    assert np.array_equal(elastic[:, :, :3], affine)


@pytest.mark.parametrize("bend", [0.0, 0.5, 2.0])
def test_bend_is_the_displacement_in_pixels(bend):
    maps = Elastic(bend=bend).maps(4000, np.random.default_rng(0))[:, :, 3:]
    field = np.einsum("nit,thw->nihw", maps, warp_terms(28, 28, 18)[3:])
    assert np.sqrt((field**2).mean()) == pytest.approx(bend, rel=0.03)
    steps = np.diff(field, axis=3)
    assert np.sqrt((steps**2).mean()) <= 3 * np.pi / 28 * bend  # three half waves are the most; noise has 1.4 * bend


def test_a_bend_out_of_range_raises():
    with pytest.raises(SettingError, match="from 0 to 100"):
        Elastic(bend=-1)


def flipped_and_cropped(image, mirrored, down, across, shift, mode):
    """The image ``(H, W, C)``, mirrored if requested, cropped from a frame that NumPy fills."""
    framed = np.pad(image[:, ::-1] if mirrored else image, ((shift, shift), (shift, shift), (0, 0)), mode)
    return framed[shift + down :, shift + across :][: image.shape[0], : image.shape[1]]


@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 6, 3), (6, 5, 2), (1, 7, 1)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("edge", "mode"), [("reflect", "reflect"), ("black", "constant")])
@pytest.mark.parametrize("shift", [3, 20])  # 20: further than the image is large
def test_flips_and_crops_move_bytes_and_change_none(backend, shape, dtype, edge, mode, shift):
    images = np.random.default_rng(0).integers(0, 256, (40, *shape), dtype=np.uint8)
    augment, chosen = FlipAndCrop(shift=shift, edge=edge), np.arange(40)[::-1].copy()
    maps = augment.maps(40, np.random.default_rng(1))
    arguments = [backend.asarray(array) for array in (images, chosen, maps)]
    for scale in (1.0, 1 / 255):
        ours = backend.to_host(backend.gather_warped(*arguments, scale, np.dtype(dtype), reflects(augment)))
        for x, image, ((_, _, down), (_, flip, across)) in zip(ours, images[::-1], maps.astype(int), strict=True):
            wanted = flipped_and_cropped(image, flip < 0, down, flip * across, shift, mode)
            np.testing.assert_array_equal(x, wanted.astype(dtype) * dtype(scale))


WHITE = {  # augmentation → whether a white photograph gets black margins
    "flip_and_crop": (FlipAndCrop(), False),
    "black flip_and_crop": (FlipAndCrop(edge="black"), True),
    "alternating_flip": (AlternatingFlip(), True),
    "reflecting alternating_flip": (AlternatingFlip(edge="reflect"), False),
    "affine": (Affine(), True),
}


@pytest.mark.parametrize(("augment", "is_black"), WHITE.values(), ids=WHITE)
def test_a_shifted_photograph_gets_a_black_margin_only_where_wanted(backend, augment, is_black):
    images, labels, chosen = np.full((9, 10, 12, 3), 255, np.uint8), np.zeros(9, int), np.arange(9)
    batch = Sampler(9, augment=augment).batch(*map(backend.asarray, (images, labels, chosen)), 1, 5)
    x = backend.to_host(make_trainer().training_step.pixels(batch, slice(None)))
    assert (x.min() == 0) == is_black
    assert is_black or np.allclose(x, 1)


def test_the_edge_is_stated_and_checked():
    """Checkpoints hold the repr: those of `alternating_flip` are resumed, as its edge has not changed."""
    assert repr(FlipAndCrop()) == "FlipAndCrop(flip=0.5, shift=4, edge='reflect')"
    assert repr(FlipAndCrop(edge="black")) == "FlipAndCrop(flip=0.5, shift=4, edge='black')"
    assert repr(AlternatingFlip()) == "AlternatingFlip(flip=0.5, shift=2)"
    assert repr(AlternatingFlip(edge="reflect")) == "AlternatingFlip(flip=0.5, shift=2, edge='reflect')"
    for wrong in ("white", None, 1):
        message = f"FlipAndCrop: got `edge={wrong!r}`, expected 'reflect' or 'black'"
        with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
            AlternatingFlip(edge=wrong)


def test_half_of_the_images_are_mirrored_and_crops_are_uniform():
    maps = FlipAndCrop(shift=2).maps(20_000, np.random.default_rng(0))
    assert maps[:, 1, 1].mean() == pytest.approx(0, abs=0.03)
    for axis in (0, 1):
        moves, counts = np.unique(maps[:, axis, 2], return_counts=True)
        assert moves.tolist() == [-2, -1, 0, 1, 2]
        np.testing.assert_allclose(counts / 20_000, 0.2, atol=0.02)
    assert np.unique(np.abs(maps[:, :, :2]), axis=0).tolist() == [[[1, 0], [0, 1]]]


def test_reduced_strength_gives_fewer_flips_and_smaller_whole_shifts():
    none, half, full = (FlipAndCrop().maps(2000, np.random.default_rng(0), strength) for strength in (0, 0.5, 1))
    assert np.array_equal(none, np.broadcast_to(np.eye(2, 3), none.shape))
    assert (half[:, 1, 1] < 0).mean() == pytest.approx(0.25, abs=0.03)
    assert np.array_equal(half[:, :, 2], np.rint(full[:, :, 2] / 2))


@pytest.mark.usefixtures("backend")
def test_alternating_flips_show_both_sides_of_every_image_in_two_epochs():
    """Whatever the batches are: the images are shuffled anew in every epoch."""
    sampler, to_host = Sampler(16, seed=3, augment=AlternatingFlip(shift=0)), get_backend().to_host
    images, labels = (
        get_backend().asarray(array) for array in (np.zeros((100, 4, 4, 1), np.uint8), np.zeros(100, int))
    )
    seen = np.zeros((4, 100))
    for epoch in range(4):
        order = sampler.order(images, epoch)
        for step in range(7):
            chosen = get_backend().asarray(order[step * 16 :][:16])
            batch = sampler.batch(images, labels, chosen, epoch, step)
            seen[epoch, to_host(chosen)] = to_host(get_backend().asarray(batch.maps))[:, 1, 1]
    assert np.array_equal(seen[0], -seen[1])
    assert np.array_equal(seen[0], seen[2])
    assert np.array_equal(seen[1], seen[3])
    assert 35 < (seen[0] < 0).sum() < 65
    assert np.abs(np.diff(seen[0])).sum() / 2 > 30  # neighbours differ, whatever the order of the file


def test_alternating_flips_fade_and_shift():
    augment, numbers = AlternatingFlip(shift=3), np.arange(2000)
    none, half, full = (augment.maps_in_epoch(numbers, 1, np.random.default_rng(0), part) for part in (0, 0.5, 1))
    assert np.array_equal(none, np.broadcast_to(np.eye(2, 3, dtype=np.float32), none.shape))
    assert (half[:, 1, 1] < 0).mean() == pytest.approx(0.25, abs=0.03)
    assert (full[:, 1, 1] < 0).mean() == pytest.approx(0.5, abs=0.01)
    assert set(full[:, :, 2].ravel()) == {-3, -2, -1, 0, 1, 2, 3}


def test_augmentations_by_name():
    assert named("affine") == Affine()
    assert named("affine", bend=2.0) == Elastic(bend=2.0)
    assert named("flip_and_crop") == FlipAndCrop(flip=0.5, shift=4)
    assert named("alternating_flip") == AlternatingFlip(flip=0.5, shift=2)
    with pytest.raises(SettingError, match=r"'flips': expected affine, flip_and_crop or alternating_flip$"):
        named("flips")
    with pytest.raises(SettingError, match=r"'flip_and_crop': expected .* or alternating_flip, affine to"):
        named("flip_and_crop", bend=1.0)


@pytest.mark.parametrize("settings", [{"flip": 1.1}, {"flip": -1}, {"shift": -1}, {"shift": 0.5}, {"shift": 2000}])
def test_flips_and_crops_out_of_range_raise(settings):
    with pytest.raises(SettingError, match=r"FlipAndCrop: `(flip|shift)=.*`: expected"):
        FlipAndCrop(**settings)


@pytest.mark.parametrize("augment", [Affine(), Elastic()])
def test_strength_interpolates_between_identity_and_full_maps(augment):
    none, quarter, full = (augment.maps(5, np.random.default_rng(0), strength) for strength in (0, 0.25, 1))
    assert np.array_equal(none, np.broadcast_to(np.eye(2, augment.terms, dtype=np.float32), none.shape))
    assert np.array_equal(full, augment.maps(5, np.random.default_rng(0)))
    np.testing.assert_allclose(quarter, 0.75 * none + 0.25 * full, atol=1e-6)


def test_fading_ends_one_epoch_before_the_end():
    fade = Fade.towards_the_end(3, epochs=5, steps=4)  # twenty steps: eight in full, eight fading, four without
    strengths = [fade.strength(step) for step in range(20)]
    assert strengths[:9] == [1.0] * 9
    np.testing.assert_allclose(strengths[9:16], np.arange(7, 0, -1) / 8)
    assert strengths[16:] == [0.0] * 4
    suddenly = Fade.towards_the_end(1, epochs=3, steps=2)
    assert [suddenly.strength(step) for step in range(6)] == [1, 1, 1, 1, 0, 0]


def test_an_invalid_fade_raises():
    with pytest.raises(SettingError, match=r"`fade_epochs=0\.5`: expected at least 1"):
        Fade.towards_the_end(0.5, epochs=5, steps=4)
    with pytest.raises(SettingError, match="expected full to come first"):
        Fade(full=3, gone=2)


def test_fading_changes_batches_between_full_and_gone(backend):
    images = sides(20)[0]

    def batch(step, **settings):
        trainer = make_trainer(**settings)
        trainer.optimizer.step_count = step
        return backend.to_host(pixels(trainer, images))

    fading = {"augment": Affine(), "fade": Fade(full=2, gone=6)}
    assert np.array_equal(batch(2, **fading), batch(2, augment=Affine()))
    assert not np.array_equal(batch(4, **fading), batch(4, augment=Affine()))
    assert not np.array_equal(batch(4, **fading), batch(4))
    assert np.array_equal(batch(6, **fading), batch(6))


def test_a_network_that_rescales_gets_raw_pixels():
    images = sides(5)[0]
    model = Sequential(Rescaling(1 / 255), Flatten(), Dense(2), input_shape=(8, 8, 1))
    trainer = Trainer(model, SGD(model.parameters()), batch_size=5)
    assert np.array_equal(pixels(trainer, images), images.astype(np.float32))


# ---------------------------------------------------------------------------------------------------------- evaluation


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("count", [1, EVALUATION_BATCH, 2 * EVALUATION_BATCH + 37])
def test_every_image_counts_the_same(count):
    images, labels = sides(count)
    model = make_trainer().model.eval()
    logits = model.logits(images.astype(np.float32) / np.float32(255)).numpy().astype(np.float64)  # one big batch
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    losses = -np.log(probabilities[np.arange(count), labels])
    scores = evaluate(model, images, labels)
    assert scores.loss == pytest.approx(losses.mean(), rel=1e-5)
    assert scores.accuracy == (probabilities.argmax(axis=1) == labels).mean()


def test_a_wrong_last_batch_would_change_the_accuracy():
    """Omitting the partial batch, or weighting it like a whole one, would change the accuracy of this set."""
    labels = np.array([0] * EVALUATION_BATCH + [1] * 10)
    model = Sequential(Flatten(), Dense(2), input_shape=(1, 1, 1))
    state = {"dense_1.weight": np.zeros((1, 2), np.float32), "dense_1.bias": np.array([1, 0], np.float32)}
    model.load_state_dict(state)
    images = np.zeros((len(labels), 1, 1, 1), np.uint8)
    scores = evaluate(model, images, labels)
    assert scores.accuracy == EVALUATION_BATCH / (EVALUATION_BATCH + 10)
    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))  # -log of the probability of class 0 and of 1
    assert scores.loss == pytest.approx((EVALUATION_BATCH * right + 10 * wrong) / (EVALUATION_BATCH + 10), rel=1e-6)


def test_a_loss_too_large_for_a_probability_is_still_right():
    model = Sequential(Flatten(), Dense(2), input_shape=(1, 1, 1))
    model.load_state_dict({"dense_1.weight": np.zeros((1, 2), np.float32), "dense_1.bias": np.float32([5000, 0])})
    assert evaluate(model, np.zeros((1, 1, 1, 1), np.uint8), np.array([1])).loss == pytest.approx(5000)


@pytest.mark.parametrize("mode", [True, False])
def test_evaluation_restores_the_mode(mode):
    model, (images, labels) = make_trainer().model.train(mode), sides(10)
    before = model.state_dict()
    first, second = evaluate(model, images, labels), evaluate(model, images, labels)
    assert first == second  # no dropout in either mode
    assert all(layer.training is mode for layer in (model, *model.layers.values()))
    assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())
    with pytest.raises(TinyCNNError):
        predict_logits(model, images[:, :5])
    assert all(layer.training is mode for layer in (model, *model.layers.values()))


def test_predict_logits_returns_the_values_before_softmax():
    model, images = models.create("keras_cnn"), np.full((3, 28, 28, 1), 7, np.uint8)
    logits = predict_logits(model, images)
    assert logits.shape == (3, 10)
    x = np.full((3, 28, 28, 1), 7, np.float32) * np.float32(1 / 255)
    np.testing.assert_allclose(logits, model.eval().logits(x).numpy(), rtol=1e-6)


# ---------------------------------------------------------------------------------------------------------- divergence


@pytest.mark.usefixtures("backend")
def test_a_diverged_run_raises_with_an_explanation():
    trainer, (images, labels) = make_trainer(), sides(100)
    trainer.optimizer = SGD(trainer.model.parameters(), lr=1e30)
    with pytest.raises(
        TrainingDivergedError, match=r"the loss became (nan|inf) in epoch 1, step .*1e\+30.*smaller `lr`"
    ):
        trainer.fit(images, labels, epochs=2)


def test_validation_detects_a_diverged_last_step():
    trainer, (images, labels) = make_trainer(batch_size=100), sides(100)
    trainer.optimizer = SGD(trainer.model.parameters(), lr=1e38)
    words = r"the loss became (nan|inf) after epoch 1 .* first in the activations of \w+_1"
    with pytest.raises(TrainingDivergedError, match=words):
        trainer.fit(images, labels, epochs=1, validation=(images, labels))


@pytest.mark.parametrize("bias", [float("nan"), float("inf")])
def test_an_evaluation_that_is_not_finite_raises(bias):
    trainer, (images, labels) = make_trainer(), sides(20)
    assert evaluate_finite(trainer, images, labels, "in epoch 3") == evaluate(trainer.model, images, labels)
    trainer.model.layers["batchnorm_1"].parameters_by_name["beta"].data[1] = bias
    with pytest.raises(TrainingDivergedError, match=r"in epoch 3 .*first in the activations of batchnorm_1"):
        evaluate_finite(trainer, images, labels, "in epoch 3")


# ------------------------------------------------------------------------------------------------------------- warm-up


@pytest.mark.usefixtures("backend")
def test_a_warm_up_restores_the_trainer():
    trainer, (images, labels) = make_trainer(augment=Affine()), sides(40)
    before = trainer.model.state_dict()
    assert warm_up(trainer, images, labels) >= 0
    assert all(np.array_equal(before[name], array) for name, array in trainer.model.state_dict().items())
    assert trainer.optimizer.step_count == 0
    assert trainer.model.layers["dropout_1"].step == 0
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert trainer.model.training


# ------------------------------------------------------------------------------------------------------------ progress


def test_progress_weighs_batches_by_their_size():
    progress = Progress(epoch=2, steps=2)
    progress.add(1.0, 16, 16)
    assert progress.scores() == Scores(1.0, 1.0)
    progress.add(4.0, 1, 4)
    assert progress.scores() == Scores((16 * 1 + 4 * 4) / 20, 17 / 20)
    assert (progress.epoch, progress.step, progress.steps, progress.seen) == (2, 2, 2, 20)


def test_progress_is_called_after_every_step():
    trainer, (images, labels) = make_trainer(), sides(40)
    seen = []
    trainer.fit(images, labels, epochs=2, progress=lambda p: seen.append((p.epoch, p.step, p.steps, p.seen)))
    assert seen == [(epoch, step, 3, min(16 * step, 40)) for epoch in (1, 2) for step in (1, 2, 3)]


def at_times(monkeypatch, *times):
    monkeypatch.setattr("time.perf_counter", iter(times).__next__)


def test_plain_progress_prints_lines_at_intervals(monkeypatch, capsys):
    at_times(monkeypatch, 100.0, 101.0, 120.0)
    lines, progress, trainer = PlainLines(), Progress(epoch=1, steps=9), SimpleNamespace(last_epoch=3)
    for _ in range(3):
        progress.add(0.5, 8, 10)
        lines.on_step_end(trainer, progress)
    captured = capsys.readouterr()
    assert captured.out == "  epoch 1/3 step 3/9: loss 0.5000, accuracy 80.00 %, 2 images/s\n"
    assert captured.err == ""


def test_the_bar_shows_the_scores_and_is_removed(monkeypatch, capsys):
    at_times(monkeypatch, *np.arange(0.0, 5.0))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    bar, progress, trainer = ProgressBar(leave=False), Progress(epoch=2, steps=2), SimpleNamespace(last_epoch=3)
    made = []
    monkeypatch.setattr(bar, "make_bar", lambda **settings: made.append(RecordedBar(**settings)) or made[-1])
    for _ in range(2):
        progress.add(0.5, 8, 10)
        bar.on_step_end(trainer, progress)
    (shown,) = made
    assert shown.calls == [
        ("total", 2),
        ("desc", "epoch 2/3"),
        ("update", 1),
        ("update", 1),
        ("postfix", "loss 0.5000, accuracy 80.00 %, 20 images/s"),
        ("close", None),
    ]
    assert capsys.readouterr().out == ""


class RecordedBar:
    """A stand-in for tqdm that records its calls."""

    def __init__(self, total, desc, **_):
        self.calls = [("total", total), ("desc", desc)]

    def update(self, steps):
        self.calls.append(("update", steps))

    def set_postfix_str(self, text, refresh):
        self.calls.append(("postfix", text))

    def close(self):
        self.calls.append(("close", None))


def test_the_display_depends_on_the_output(monkeypatch):
    assert progress_display(quiet=True) == []
    for is_terminal, kind in ((True, ProgressBar), (False, PlainLines)):
        monkeypatch.setattr("sys.stderr.isatty", lambda is_terminal=is_terminal: is_terminal, raising=False)
        assert [type(one) for one in progress_display()] == [kind]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x, y: (x.astype(np.float32), y),
            "images are float32, from .* but the network takes pixels 0..1",
        ),
        (lambda x, y: (x[:0], y[:0]), "no images: expected at least one"),
        (lambda x, y: (x, y[1:]), "40 images and 39 labels"),
        (lambda x, y: (x, np.eye(2)[y] / 2), "labels: rows of 2 that are not one-hot"),
        (lambda x, y: (x, y.astype(float)), "labels are float64"),
    ],
    ids=["floats", "none", "one label too few", "one-hot", "fractions"],
)
def test_invalid_examples_raise(change, message):
    """Also for validation, where no images at all mean no validation."""
    good, bad = sides(40), change(*sides(40))
    with pytest.raises(DataError, match=message):
        make_trainer().fit(*bad, epochs=1)
    if len(bad[0]):
        with pytest.raises(DataError, match=message):
            make_trainer().fit(*good, epochs=1, validation=bad)
