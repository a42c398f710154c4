"""Images that stay on disk: training as in memory, each image once per epoch, little memory, clear errors."""

import json
import threading

import numpy as np
import pytest

from tests.support.example_runner import run_example
from tests.support.in_process import run_here
from tests.support.memory_held import linux_only, output_of
from tests.train.test_long_runs import after, bits
from tests.train.test_trainer import make_trainer, sides
from tinycnn.backends import get_backend
from tinycnn.data import StoredImages, load, load_stored, split_validation
from tinycnn.errors import DataError, SettingError
from tinycnn.saving.state_file import fingerprint
from tinycnn.train import capture
from tinycnn.train.batches import Sampler, prefetch
from tinycnn.train.checkpoint import Checkpoints, TrainingStopped
from tinycnn.train.divergence import TrainingDivergedError
from tinycnn.train.evaluation import evaluate
from tinycnn.train.trainer import Trainer
from tinycnn.train.warm_up import warm_up

COUNT, EPOCHS = 150, 2
MEMORY = 2 * 48 * 64  # bytes: parts of 48 images, three batches of 16


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("tinycnn.data.stored.BLOCK", 5 * 64)  # five images


@pytest.fixture
def files(tmp_path):
    """Two files with the images of ``sides(COUNT)``, the first not a whole number of blocks, and the labels."""
    images, labels = sides(COUNT)
    for name, array in {"a": images[:93], "b": images[93:], "labels": labels}.items():
        np.save(tmp_path / f"{name}.npy", array)
    return tmp_path


def stored_in(files, memory=MEMORY):
    return StoredImages(files / "a.npy", files / "b.npy", memory=memory)


def pairs(images, labels):
    return [(image.tobytes(), label) for image, label in zip(images, labels, strict=True)]


def trained(trainer, images, labels, **settings):
    trainer.fit(images, labels, epochs=EPOCHS, validation=sides(20, 1), **settings)
    return trainer


# --------------------------------------------------------------------------------------------------------- as an array


def test_indexing_matches_an_array_and_reads_single_images_only(files):
    images, stored = sides(COUNT)[0], stored_in(files)
    assert (stored.shape, stored.dtype, stored.ndim, len(stored)) == (images.shape, images.dtype, 4, COUNT)
    assert stored.nbytes == images.nbytes
    numbers = np.arange(COUNT)
    for chosen in [slice(90, 97), slice(None, None, -7), [149, 0, 93, 93], numbers % 3 == 0, numbers[:0]]:
        assert isinstance(stored[chosen], StoredImages)
        assert stored[chosen].shape == images[chosen].shape
        np.testing.assert_array_equal(np.asarray(stored[chosen]), images[chosen])
    np.testing.assert_array_equal(np.asarray(stored[::-1][10:20], np.float32), images[::-1][10:20].astype(np.float32))
    for number in [7, -1, np.int64(93)]:
        np.testing.assert_array_equal(stored[number], images[number])
    with pytest.raises(IndexError):
        stored[COUNT]
    with pytest.raises(ValueError, match="by being read"):
        np.array(stored, copy=False)


def test_images_without_a_channel_axis_get_one(tmp_path):
    np.save(tmp_path / "grey.npy", np.zeros((3, 8, 6), np.uint8))
    assert StoredImages(tmp_path / "grey.npy").shape == (3, 8, 6, 1)


def test_evaluation_and_fingerprint_match_the_array(files):
    images, labels = sides(COUNT)
    assert evaluate(make_trainer().model, stored_in(files), labels) == evaluate(make_trainer().model, images, labels)
    assert fingerprint(stored_in(files), labels) == fingerprint(images, labels)


# ------------------------------------------------------------------------------------------------------------ the order


def test_an_epoch_has_every_image_once_and_shuffles_blocks(files):
    stored = stored_in(files)
    order = stored.order(np.random.default_rng(0), 16)
    assert sorted(order) == list(range(COUNT))
    assert stored.window(16) == 48
    other = stored.order(np.random.default_rng(1), 16)
    assert not np.array_equal(order, other)
    assert set(order[:48]) != set(other[:48])
    whole = [start for start in range(0, COUNT, 5) if {*range(start, start + 5)} <= set(order[:48])]
    assert len(whole) >= 8  # of at most nine and a rest: the five images of a block are read together
    assert np.abs(np.diff(order[:48])).mean() > 5  # and are shuffled for training


def test_a_set_that_fits_into_memory_is_shuffled_completely(files):
    order = stored_in(files, memory=1 << 20).order(np.random.default_rng(0), 16)
    assert sorted(order) == list(range(COUNT))
    assert np.mean(np.abs(np.diff(order)) == 1) < 0.1


@pytest.mark.parametrize("done", [0, 16, 48, 144])
def test_parts_hold_the_images_in_the_requested_order(files, done):
    images, stored = sides(COUNT)[0], stored_in(files)
    order = np.random.default_rng(3).permutation(COUNT)
    parts = stored.parts(order, 16, done)
    seen = [(part[chosen], numbers[chosen], id(part.base)) for part, numbers, chosen in parts]
    np.testing.assert_array_equal(np.concatenate([numbers for _, numbers, _ in seen]), order[done:])
    np.testing.assert_array_equal(np.concatenate([part for part, _, _ in seen]), images[order[done:]])
    assert len({buffer for *_, buffer in seen}) <= 2


def test_the_order_does_not_depend_on_the_division_into_files(files):
    np.save(files / "all.npy", sides(COUNT)[0])
    one = StoredImages(files / "all.npy", memory=MEMORY).order(np.random.default_rng(0), 16)
    np.testing.assert_array_equal(one, stored_in(files).order(np.random.default_rng(0), 16))


# --------------------------------------------------------------------------------------------------------- the training


@pytest.mark.usefixtures("backend")
def test_training_from_the_disk_gives_the_bits_of_training_in_memory(files, monkeypatch):
    images, labels = sides(COUNT)
    from_disk = bits(trained(make_trainer(), stored_in(files), labels))
    assert from_disk != bits(trained(make_trainer(), images, labels))  # in memory, the order differs
    order = Sampler.order
    monkeypatch.setattr(Sampler, "order", lambda self, _, epoch: order(self, stored_in(files), epoch))
    assert from_disk == bits(trained(make_trainer(), images, labels))


def test_every_image_is_used_once_per_epoch_and_few_are_in_memory(files):
    images, labels = sides(COUNT)
    trainer, step, seen = make_trainer(), Trainer.step, []

    def recording(images_here, labels_here, chosen, epoch=1):
        assert len(images_here) <= 48
        seen.append((images_here[chosen].copy(), labels_here[chosen]))
        return step(trainer, images_here, labels_here, chosen, epoch)

    trainer.step = recording
    trained(trainer, stored_in(files), labels)
    expected = sorted(pairs(images, labels))
    for epoch in seen[:10], seen[10:]:
        assert sorted(pair for batch in epoch for pair in pairs(*batch)) == expected


@pytest.mark.parametrize("step", [1, 3, 7, 10, 13])
def test_a_resumed_run_from_the_disk_ends_with_the_same_bits(files, tmp_path, step):
    labels, checkpoints = sides(COUNT)[1], Checkpoints(tmp_path / "run")
    expected = bits(trained(make_trainer(), stored_in(files), labels))
    trainer = make_trainer()
    with pytest.raises(TrainingStopped):
        trained(trainer, stored_in(files), labels, checkpoints=checkpoints, stop=after(step)(trainer))
    resumed = Checkpoints(tmp_path / "run", resume=True)
    assert bits(trained(make_trainer(), stored_in(files), labels, checkpoints=resumed)) == expected


def test_resuming_with_another_memory_raises(files, tmp_path):
    labels, trainer = sides(COUNT)[1], make_trainer()
    with pytest.raises(TrainingStopped):
        trained(trainer, stored_in(files), labels, checkpoints=Checkpoints(tmp_path / "run"), stop=after(3)(trainer))
    resumed = Checkpoints(tmp_path / "run", resume=True)
    with pytest.raises(SettingError, match=r"memory for images 0\.005859375 MiB there, 1\.0 MiB here"):
        trained(make_trainer(), stored_in(files, memory=1 << 20), labels, checkpoints=resumed)


def test_a_diverged_run_from_the_disk_is_traced(files):
    with pytest.raises(TrainingDivergedError, match=r"in epoch 1, step \d+ of 10 .* first in"):
        trained(make_trainer(lr=1e30), stored_in(files), sides(COUNT)[1])


def test_warming_up_reads_two_batches(files):
    warm_up(make_trainer(), stored_in(files), sides(COUNT)[1])


def test_steps_on_stored_images_are_not_captured_and_the_reason_is_set(files, monkeypatch):
    monkeypatch.setattr(get_backend(), "recorder", object, raising=False)  # an object that cannot capture
    monkeypatch.setattr(get_backend(), "compiles", True)
    trainer = make_trainer()
    warm_up(trainer, stored_in(files), sides(COUNT)[1])
    assert trainer.why_eager == capture.STREAMED_IMAGES  # set before the first step, for reports
    trained(trainer, stored_in(files), sides(COUNT)[1])
    assert (trainer.capture.steps, trainer.why_eager) == (None, capture.STREAMED_IMAGES)


@pytest.mark.usefixtures("backend")
def test_stored_validation_images_score_as_in_memory(files):
    images, labels = sides(COUNT)
    x, y, x_valid, y_valid = split_validation(stored_in(files), labels, 0.2, seed=0)
    assert isinstance(x, StoredImages)
    assert isinstance(x_valid, StoredImages)
    assert (len(x), len(x_valid)) == (120, 30)
    assert sorted(pairs(x, y) + pairs(x_valid, y_valid)) == sorted(pairs(images, labels))
    scores = []
    for validation in (x_valid, y_valid), (np.asarray(x_valid), y_valid):
        trainer = make_trainer()
        scores += [[(e.validation_loss, e.train_loss) for e in trainer.fit(x, y, epochs=EPOCHS, validation=validation)]]
    assert scores[0] == scores[1]


# ----------------------------------------------------------------------------------------------------------- read ahead


def test_prefetch_raises_errors_in_order():
    made = []

    def items():
        for number in range(3):
            made.append(number)
            yield number
        raise OSError("the disk is gone")

    coming = prefetch(items())
    assert not made
    assert [next(coming), next(coming), next(coming)] == [0, 1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(coming)


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("tinycnn-ahead")]


def test_a_stopped_run_leaves_no_thread(files, tmp_path):
    trainer = make_trainer()
    with pytest.raises(TrainingStopped) as stopped:  # and holds the frames of the run
        trained(trainer, stored_in(files), sides(COUNT)[1], stop=after(2)(trainer))
    assert stopped.tb is not None
    assert not reading_threads()


def test_a_file_truncated_during_use_raises(files):
    stored = stored_in(files)
    with open(files / "b.npy", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(DataError, match=r"b\.npy: it ends [\d,]+ bytes too early"):
        trained(make_trainer(), stored, sides(COUNT)[1])


# --------------------------------------------------------------------------------------------------------------- errors


def damaged(array, cut=0, tail=b""):
    """A function that writes ``array`` to a path, without its last ``cut`` bytes and followed by ``tail``."""

    def write(path):
        np.save(path, array)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) - cut] + tail)

    return write


BYTES = np.zeros((6, 4, 4, 1), np.uint8)
BAD_IMAGES = {
    "truncated": (damaged(BYTES, cut=1), "it has 223 bytes, its header declares 224: damaged"),
    "too long": (damaged(BYTES, tail=b"x"), "it has 225 bytes, its header declares 224: damaged"),
    "floats": (damaged(BYTES.astype(np.float32)), "float32 of shape .*; expected uint8"),
    "labels": (damaged(np.zeros(6, np.uint8)), r"uint8 of shape \(6,\); expected uint8 \(N, H, W\)"),
    "fortran": (damaged(np.asfortranarray(np.zeros((6, 4, 5), np.uint8))), "in Fortran order"),
    "empty": (damaged(BYTES[:0]), r"shape \(0, 4, 4, 1\)"),
    "objects": (damaged(np.array([None])), "object of shape"),
    "no npy": (
        lambda path: path.write_bytes(b"PK\3\4 something else"),
        "npy: it is not a .npy array, or it is damaged. Write",
    ),
    "of no bytes": (
        lambda path: path.touch(),
        "npy: it is not a .npy array, or it is damaged. Write it again with numpy.save",
    ),
    "no file": (lambda path: None, "there is no such file"),
    "a folder": (lambda path: path.mkdir(), "a folder, expected a file"),
}


@pytest.mark.parametrize(("write", "message"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_files_without_images_raise(tmp_path, write, message):
    write(tmp_path / "x.npy")
    with pytest.raises(DataError, match=message) as caught:
        StoredImages(tmp_path / "x.npy")
    assert "x.npy" in str(caught.value)
    assert "\n" not in str(caught.value)


BAD_LABELS = {
    "too few": (np.arange(5), r"x\.npy holds 6 images, .*y\.npy 5 labels; expected one label per image"),
    "negative": (np.arange(6) - 1, r"y\.npy: labels: values from -1"),
    "floats": (np.arange(6.0), "labels: got float64"),
    "objects": (np.array([None] * 6), "Pickled objects are never loaded"),
}


@pytest.mark.parametrize(("labels", "message"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_labels_that_do_not_match_the_images_raise(tmp_path, labels, message):
    np.save(tmp_path / "x.npy", BYTES)
    np.save(tmp_path / "y.npy", labels)
    with pytest.raises(DataError, match=message):
        load_stored(tmp_path / "x.npy", tmp_path / "y.npy")


def test_damaged_labels_raise(tmp_path):
    np.save(tmp_path / "x.npy", BYTES)
    damaged(np.arange(6), cut=8)(tmp_path / "y.npy")
    with pytest.raises(DataError, match=r"y\.npy: its header declares 48 bytes, the file has room for 40: damaged"):
        load_stored(tmp_path / "x.npy", tmp_path / "y.npy")


def test_files_of_different_shapes_raise(tmp_path):
    np.save(tmp_path / "a.npy", BYTES)
    np.save(tmp_path / "b.npy", BYTES[:, 1:])
    with pytest.raises(DataError, match=r"b\.npy: images of shape \(3, 4, 1\); expected \(4, 4, 1\), as in .*a\.npy"):
        StoredImages(tmp_path / "a.npy", tmp_path / "b.npy")


def test_no_file_and_zero_memory_raise(files):
    with pytest.raises(SettingError, match="expected at least one"):
        StoredImages()
    with pytest.raises(SettingError, match=r"got 0 bytes; expected at least 1\. Two batches are always held"):
        stored_in(files, memory=0)


@pytest.mark.parametrize("in_memory", [False, True])
def test_training_needs_one_label_per_image(files, in_memory):
    images = sides(COUNT)[0] if in_memory else stored_in(files)
    with pytest.raises(DataError, match="150 images and 149 labels: expected one label per image"):
        trained(make_trainer(), images, sides(COUNT)[1][:-1])


# ----------------------------------------------------------------------------------------------- a folder of .npy files


@pytest.fixture
def arrays(tmp_path):
    """The folder ``arrays``: training images in two files, 20 test images."""
    folder = tmp_path / "arrays"
    folder.mkdir()
    (x_train, y_train), (x_test, y_test) = sides(COUNT), sides(20, 1)
    parts = {"train_b": slice(93), "train_a": slice(93, None)}
    for name, some in parts.items():
        np.save(folder / f"x_{name}.npy", x_train[some])
        np.save(folder / f"y_{name}.npy", y_train[some])
    np.save(folder / "x_test.npy", x_test)
    np.save(folder / "y_test.npy", y_test)
    return folder


def test_a_folder_of_npy_files_is_a_data_set_on_the_disk(arrays):
    (images, labels), (x_test, y_test) = sides(COUNT), sides(20, 1)
    dataset = load(arrays, memory=MEMORY)
    by_name = [*range(93, COUNT), *range(93)]  # a before b
    assert isinstance(dataset.x_train, StoredImages)
    assert isinstance(dataset.x_test, StoredImages)
    np.testing.assert_array_equal(np.asarray(dataset.x_train), images[by_name])
    np.testing.assert_array_equal(dataset.y_train, labels[by_name])
    np.testing.assert_array_equal(np.asarray(dataset.x_test), x_test)
    np.testing.assert_array_equal(dataset.y_test, y_test)
    assert (dataset.name, dataset.class_names, dataset.input_shape) == ("arrays", ("0", "1"), (8, 8, 1))
    assert dataset.x_train.memory == MEMORY
    few = load(arrays, limit=60)
    assert isinstance(few.x_train, StoredImages)
    np.testing.assert_array_equal(np.asarray(few.x_train), images[by_name[:60]])
    np.testing.assert_array_equal(few.y_train, labels[by_name[:60]])


def test_a_folder_may_have_one_file_per_array(arrays):
    for letter in "xy":
        (arrays / f"{letter}_train_a.npy").rename(arrays / f"{letter}_train.npy")
        (arrays / f"{letter}_train_b.npy").unlink()
    np.testing.assert_array_equal(load(arrays).y_train, sides(COUNT)[1][93:])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "x_test.npy").unlink(), r"arrays: x_test\.npy is missing"),
        (lambda folder: (folder / "y_train_b.npy").unlink(), r"y_train_b\.npy: there is no such file"),
        (lambda folder: np.save(folder / "y_test.npy", np.arange(19)), r"20 images, .*y_test\.npy 19 labels"),
        (
            lambda folder: np.save(folder / "x_test.npy", np.zeros((20, 8, 9), np.uint8)),
            r"expected the same \(H, W, C\)",
        ),
    ],
)
def test_folders_with_inconsistent_files_raise(arrays, spoil, message):
    spoil(arrays)
    with pytest.raises(DataError, match=message):
        load(arrays)


TRAIN = ["--dataset", "arrays", "--model", "lenet", "--backend", "numpy", "--epochs", "2", "--batch-size", "16"]


def test_the_example_trains_from_a_folder_of_npy_files(tmp_path):
    folder = tmp_path / "arrays"
    folder.mkdir()
    for part, (images, labels) in {"train": sides(COUNT), "test": sides(20, 1)}.items():
        np.save(folder / f"x_{part}.npy", np.kron(images, np.ones((1, 2, 2, 1), np.uint8)))  # (N, 16, 16, 1)
        np.save(folder / f"y_{part}.npy", labels)
    options = "--validation-split", "0.2", "--save-best", "--augment", "--memory", "1"
    done = run_example("train_mnist.py", *TRAIN, *options, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "arrays: 120 training, 30 validation, 20 test images" in done.stdout
    assert "1 MiB" in done.stdout
    run = tmp_path / "runs" / "lenet-arrays"
    assert json.loads((run / "metrics.json").read_text())["test_accuracy"] > 0.9
    assert (run / "misclassified.png").exists()
    assert (run / "histograms.png").exists()
    wrong = run_here("train", *TRAIN, "--memory", "0", folder=tmp_path)
    assert (wrong.returncode, wrong.stderr) == (2, "error: --memory 0: expected at least 1\n")


# ----------------------------------------------------------------------------------------------------------- the memory

CODE = """
import sys
from pathlib import Path
import numpy as np, tinycnn
from tests.support.memory_held import held
from tinycnn import data, layers, optim
from tinycnn.train.checkpoint import Checkpoints
from tinycnn.train.divergence import evaluate_finite
from tinycnn.train.trainer import Trainer

tinycnn.use_backend("numpy")
model = tinycnn.Sequential(layers.Flatten(), layers.Dense(2), input_shape=(64, 64, 3))
trainer = Trainer(model, optim.SGD(model.parameters(), 0.01), batch_size=64)
before = held("VmRSS")
dataset = data.load(sys.argv[1], memory=16 << 20)
x, y, *validation = data.split_validation(dataset.x_train, dataset.y_train, 0.5, seed=0)
if sys.argv[2] == "memory":
    x = np.asarray(x)
trainer.fit(x, y, epochs=1, validation=validation, checkpoints=Checkpoints(Path(sys.argv[3])))
evaluate_finite(trainer, dataset.x_test, dataset.y_test, "at the end")
print(held("VmHWM") - before)
"""


@linux_only
@pytest.mark.parametrize(("where", "least", "most"), [("disk", 16, 100), ("memory", 140, 1000)])
def test_training_on_440_mb_from_the_disk_takes_less_than_100_mib(tmp_path, where, least, most):
    count = 12_000
    for part, images in {"train": 2 * count, "test": count}.items():
        np.save(tmp_path / f"y_{part}.npy", np.arange(images) % 2)
        with open(tmp_path / f"x_{part}.npy", "wb") as file:
            shape = images, 64, 64, 3
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            file.truncate(file.tell() + int(np.prod(shape)))  # a sparse file: zeros that take no disk space
    assert least < float(output_of(CODE, tmp_path, where, tmp_path / "checkpoints")) < most
