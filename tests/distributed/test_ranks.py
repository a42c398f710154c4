"""Several ranks give the results of one process, up to the order of summation; here ranks are threads, without MPI."""

from functools import partial

import numpy as np
import pytest

import tinycnn
from tests.support.thread_ranks import on_ranks
from tinycnn import layers, ops, optim
from tinycnn.backends import get_backend
from tinycnn.data import StoredImages
from tinycnn.data.augment import Affine
from tinycnn.distributed import communicator, sharding
from tinycnn.distributed.agreement import check_agreement
from tinycnn.distributed.communicator import get_communicator, on_rank_0, rank_0_first
from tinycnn.distributed.sharding import Shard
from tinycnn.errors import DataError, SettingError
from tinycnn.run.folder import locked_folder
from tinycnn.tensor import Tensor
from tinycnn.train.checkpoint import Checkpoints, TrainingStopped
from tinycnn.train.divergence import TrainingDivergedError, evaluate_finite
from tinycnn.train.evaluation import evaluate
from tinycnn.train.step import TrainingStep, all_reduce_gradients
from tinycnn.train.trainer import Trainer
from tinycnn.train.warm_up import warm_up

rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (61, 10, 10, 1), dtype=np.uint8)
LABELS = rng.integers(0, 3, 61)
BATCH = 13  # 61 = 4 · 13 + 9: neither 13 nor 9 is divisible by 2, 4 or 20, and with 20 ranks some have no image


def network(dtype=np.float64, normalise=True, drop=True):
    middle = [layers.BatchNorm()] if normalise else []
    late = [layers.Dropout(0.5)] if drop else []
    chain = [layers.Conv2d(4), layers.ReLU(), *middle, layers.MaxPool2d(), layers.Flatten(), layers.Dense(6)]
    chain += [layers.ReLU(), *late, layers.Dense(3)]
    return tinycnn.Sequential(*chain, input_shape=(10, 10, 1), seed=1, dtype=dtype)


def trainer_for(model, **settings):
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return Trainer(model, optimizer, batch_size=BATCH, **settings)


def train(model, *, epochs=2, fit=None, **settings):
    """``(state, history without times)`` after training."""
    trainer = trainer_for(model, **settings)
    results = trainer.fit(IMAGES, LABELS, epochs=epochs, validation=(IMAGES[:7], LABELS[:7]), **(fit or {}))
    history = [(r.train_loss, r.train_accuracy, r.validation_loss, r.validation_accuracy) for r in results]
    return model.state_dict(), history


def difference(state, other):
    return max(float(np.abs(state[name] - other[name]).max()) for name in state)


EVERYTHING = {"augment": Affine(), "label_smoothing": 0.1, "clip_norm": 0.5}


@pytest.mark.parametrize("size", [2, 4, 20])
@pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["plain", "everything"])
def test_ranks_match_one_process_in_float64(settings, size):
    state, history = train(network(), **settings)
    found = on_ranks(size, lambda rank: train(network(), **settings))
    assert difference(state, found[0][0]) < 1e-12
    assert np.allclose(history, found[0][1], rtol=1e-12)
    for other, other_history in found[1:]:
        assert difference(found[0][0], other) == 0
        assert other_history == found[0][1]


@pytest.mark.parametrize("loss", ["binary_cross_entropy_with_logits", "mse_loss"])
def test_several_labels_numbers_and_averages_match_one_process(loss, monkeypatch):
    """With 20 ranks, some have no image in a batch; Muon is two groups of parameters."""
    K = network().output_shape[0]
    monkeypatch.setattr(
        "tests.distributed.test_ranks.LABELS", np.random.default_rng(0).integers(0, 2, (len(LABELS), K))
    )

    def run(rank=None):
        model = network()
        trainer = Trainer(model, optim.Muon(model.parameters()), batch_size=BATCH, loss=loss, average_weights=0.8)
        results = trainer.fit(IMAGES, LABELS, epochs=2, validation=(IMAGES[:7], LABELS[:7]))
        history = [(r.train_loss, r.train_accuracy, r.validation_loss, r.validation_accuracy) for r in results]
        return model.state_dict(), history

    state, history = run()
    assert np.isnan(history[0][1]) == (loss == "mse_loss")
    for size in (2, 20):
        found = on_ranks(size, run)
        assert difference(state, found[0][0]) < 1e-11
        np.testing.assert_allclose(history, found[0][1], rtol=1e-11)
        assert all(difference(found[0][0], other) == 0 for other, _ in found[1:])


def test_class_weights_are_refused_where_each_rank_has_a_part_of_the_batch():
    loss = partial(ops.softmax_cross_entropy, class_weights=[1, 2, 3])
    with pytest.raises(SettingError, match=r"pass the weight of each image, `sample_weight=class_weights\[labels\]`"):
        on_ranks(2, lambda rank: train(network(), loss=loss))
    weights = np.array([1, 2, 3])[LABELS]
    state, history = train(network(), fit={"sample_weight": weights})
    found, other_history = on_ranks(2, lambda rank: train(network(), fit={"sample_weight": weights}))[0]
    assert difference(state, found) < 1e-12
    assert np.allclose(history, other_history, rtol=1e-12)


@pytest.mark.parametrize("size", [2, 20])
def test_fused_kernels_match_one_process(size):
    pytest.importorskip("numba")
    with tinycnn.use_backend("numba"):
        state, _ = train(network(np.float32), epochs=1)
        found, _ = on_ranks(size, lambda rank: train(network(np.float32), epochs=1))[0]
        assert difference(state, found) < 2e-5


def test_repeated_runs_give_the_same_bits():
    first, second = (on_ranks(4, lambda rank: train(network(np.float32)))[0][0] for _ in range(2))
    assert difference(first, second) == 0


BUGS = ["plain mean of the means", "statistics of a part", "masks by place in the part", "each clips its own gradient"]


@pytest.mark.parametrize("bug", BUGS)
def test_the_comparison_detects_planted_bugs(bug, monkeypatch):
    match bug:
        case "plain mean of the means":
            monkeypatch.setattr(Shard, "weight", property(lambda shard: 1 / shard.ranks.size))
        case "statistics of a part":
            monkeypatch.setattr(sharding, "global_moments", lambda images, values, *own: (images * values, *own))
        case "masks by place in the part":
            monkeypatch.setattr(sharding, "current_shard", lambda: None)
        case "each clips its own gradient":
            monkeypatch.setattr("tinycnn.train.step.all_reduce_gradients", clip_and_all_reduce)
    drop, normalise = bug.startswith("masks"), bug.startswith("statistics")
    settings = {"epochs": 1, "clip_norm": 0.5 if "clips" in bug else None}
    state, _ = train(network(drop=drop, normalise=normalise), **settings)
    found, _ = on_ranks(2, lambda rank: train(network(drop=drop, normalise=normalise), **settings))[0]
    assert difference(state, found) > 1e-6


def clip_and_all_reduce(communicator, parameters, *numbers):
    optim.clip_gradients(parameters, 0.5)
    return all_reduce_gradients(communicator, parameters, *numbers)


@pytest.mark.parametrize("size", [2, 20])
@pytest.mark.parametrize("learn", [["dense_2"], ["conv2d_1"], ["batchnorm_1", "dense_1"]], ids=" ".join)
@pytest.mark.parametrize(("backend", "dtype", "most"), [("numpy", np.float64, 1e-12), ("numba", np.float32, 2e-5)])
def test_frozen_layers_match_one_process(backend, dtype, most, learn, size):
    """Frozen layers have no gradient to reduce; the others train as in one process, also if a rank has no image."""
    pytest.importorskip(backend)
    with tinycnn.use_backend(backend):
        state, _ = train(network(dtype).freeze_only(*learn), epochs=1, **EVERYTHING)
        found = on_ranks(size, lambda rank: train(network(dtype).freeze_only(*learn), epochs=1, **EVERYTHING))
    assert difference(state, network(dtype).state_dict()) > 1e-3
    assert difference(state, found[0][0]) < most
    assert all(difference(found[0][0], other) == 0 for other, _ in found[1:])


@pytest.mark.parametrize(("images", "batch"), [(3, 13), (9, 1), (5, 4)])
def test_fewer_images_than_ranks_match_one_process(images, batch, monkeypatch):
    """Too few images in the data set or in each batch; validation has one image for four ranks."""
    monkeypatch.setattr("tests.distributed.test_ranks.BATCH", batch)

    def work(_=None):
        trainer = trainer_for(network(), **EVERYTHING)
        validation = IMAGES[:1], LABELS[:1]
        trainer.fit(IMAGES[:images], LABELS[:images], epochs=2, validation=validation)
        return trainer.model.state_dict()

    alone, four = work(), on_ranks(4, work)
    assert all(difference(alone, state) < 1e-12 for state in four)


@pytest.mark.parametrize("size", [2, 20])
def test_stored_images_match_one_process(size, tmp_path, monkeypatch):
    """Blocks of two batches are in memory at a time; the last block has fewer images than a batch."""
    monkeypatch.setattr("tinycnn.data.stored.BLOCK", 300)
    np.save(tmp_path / "images.npy", IMAGES)

    def work(_=None):
        stored = StoredImages(tmp_path / "images.npy", memory=2 * 2 * BATCH * IMAGES[0].size)
        trainer = trainer_for(network(), **EVERYTHING)
        results = trainer.fit(stored, LABELS, epochs=2, validation=(stored[:7], LABELS[:7]))
        return trainer.model.state_dict(), [result.validation_loss for result in results]

    state, losses = work()
    assert difference(state, train(network(), **EVERYTHING)[0]) > 1e-3  # in memory, the order differs
    found = on_ranks(size, work)
    assert all(difference(state, other) < 1e-12 for other, _ in found)
    assert np.allclose(losses, found[0][1], rtol=1e-12)


def test_early_stopping_ends_all_ranks_after_the_same_epoch():
    def work(_=None):
        settings = {"epochs": 60, "fit": {"early_stopping": 2}, "label_smoothing": 0.1}
        return len(train(network(), **settings)[1])

    alone = work()
    assert 2 < alone < 60
    assert on_ranks(3, work) == [alone] * 3


def test_a_folder_in_use_raises_on_all_ranks(tmp_path):
    def work(rank):
        with pytest.raises(SettingError, match="another run is using it"), locked_folder(tmp_path / "out"):
            pytest.fail("the folder was locked")

    with locked_folder(tmp_path / "out"):
        on_ranks(2, work)


def test_warm_up_uses_the_shard_of_a_batch(monkeypatch):
    """The whole batch may not fit into memory."""
    monkeypatch.setattr(get_backend(), "compiles", True)
    monkeypatch.setattr(TrainingStep, "__call__", lambda self, batch: seen.append(len(batch.chosen)))
    seen = []
    on_ranks(4, lambda rank: warm_up(trainer_for(network()), IMAGES, LABELS))
    assert seen == [4] * 4


@pytest.mark.parametrize("size", [1, 2, 4, 20])
def test_every_image_is_computed_once_per_epoch(size, monkeypatch):
    pixels, by_rank = TrainingStep.pixels, {rank: [] for rank in range(size)}

    def recording(self, batch, rows):
        by_rank[get_communicator().rank] += batch.chosen[rows].tolist()
        return pixels(self, batch, rows)

    def epoch(rank):
        trainer_for(network()).fit(IMAGES, LABELS, epochs=1)
        return by_rank[rank.rank]

    monkeypatch.setattr(TrainingStep, "pixels", recording)
    seen = on_ranks(size, epoch)
    assert sorted(number for part in seen for number in part) == list(range(61))


def test_a_step_without_batch_norm_has_one_all_reduce():
    def steps(rank):
        trainer = trainer_for(network(normalise=False))
        trainer.fit(IMAGES, LABELS, epochs=1)
        return rank.reduced, trainer.model.parameter_count()

    reduced, parameters = on_ranks(2, steps)[0]
    assert reduced[-5:] == [parameters + 3] * 5  # gradients, loss, correct predictions, stop requests


def test_all_reduce_gradients_sums_over_the_ranks():
    def work(rank):
        tensors = [Tensor(np.zeros((2, 2)), requires_grad=True), Tensor(np.zeros(3), requires_grad=True)]
        idle = Tensor(np.zeros(5), requires_grad=True)
        for tensor in tensors:
            tensor.grad = np.full(tensor.shape, 10.0**rank.rank)
        numbers = all_reduce_gradients(rank, [tensors[0], idle, tensors[1]], rank.rank, 1)
        return tensors[0].grad, tensors[1].grad, idle.grad, numbers.tolist()

    for first, second, idle, numbers in on_ranks(3, work):
        assert np.array_equal(first, np.full((2, 2), 111.0))
        assert np.array_equal(second, np.full(3, 111.0))
        assert idle is None
        assert numbers == [3, 3]


def test_all_reduce_gradients_with_one_parameter():
    def work(rank):
        tensor = Tensor(np.zeros(2), requires_grad=True)
        tensor.grad = np.ones(2)
        return all_reduce_gradients(rank, [tensor], rank.rank).tolist(), tensor.grad.tolist()

    assert on_ranks(2, work) == [([1], [2, 2])] * 2


def test_a_shard_ends_with_its_batch():
    def work(rank):
        with sharding.sharded_batch(5) as shard:
            inside = sharding.current_shard() is shard
        return inside, sharding.current_shard()

    assert on_ranks(2, work) == [(True, None)] * 2


def test_merge_moments():
    values = rng.normal(size=(9, 2))
    parts = [values[:1], values[1:6], values[6:6], values[6:]]
    means = np.array([part.mean(axis=0) if len(part) else [0, 0] for part in parts])
    squares = np.array([part.var(axis=0) * len(part) if len(part) else [0, 0] for part in parts])
    mean, var = sharding.merge_moments(np.array([1.0, 5, 0, 3]), means, squares)
    np.testing.assert_allclose([mean, var], [values.mean(axis=0), values.var(axis=0)], rtol=1e-12)
    one = sharding.merge_moments(np.ones(1), values[:1], np.zeros((1, 2)))
    np.testing.assert_array_equal(one, [values[0], [0, 0]])
    none = sharding.merge_moments(np.zeros(1), np.zeros((1, 2)), np.zeros((1, 2)))
    np.testing.assert_array_equal(none, np.zeros((2, 2)))


def test_broadcast_and_gather():
    work = lambda rank: (rank.broadcast(bytes([rank.rank] * 4), 2), rank.all_gather(np.array([rank.rank])))  # noqa: E731
    for content, rows in on_ranks(3, work):
        assert content == bytes([2] * 4)
        assert rows.tolist() == [[0], [1], [2]]


def test_evaluation_is_shared():
    whole = evaluate(network(), IMAGES[:7], LABELS[:7])
    # one network per thread: evaluation changes the network's mode, which would affect the other threads
    for scores in on_ranks(20, lambda rank: evaluate_finite(trainer_for(network()), IMAGES[:7], LABELS[:7], "now")):
        assert scores.accuracy == pytest.approx(whole.accuracy)
        assert scores.loss == pytest.approx(whole.loss)


def test_a_stop_request_on_one_rank_stops_all(tmp_path):
    def run(rank):
        requests = iter([rank.rank == 1 and step == 3 for step in range(99)])
        checkpoints = Checkpoints(tmp_path / "c", report=lambda sentence: None)
        with pytest.raises(TrainingStopped) as stopped:
            train(network(), fit={"stop": lambda: next(requests), "checkpoints": checkpoints})
        return str(stopped.value), stopped.value.checkpoint

    found = on_ranks(3, run)
    assert [where for where, _ in found] == ["stopped after step 4 of 5 in epoch 1"] * 3
    assert [path is not None for _, path in found] == [True, False, False]  # only rank 0 writes


def test_a_run_is_resumed_with_another_number_of_ranks(tmp_path):
    undisturbed, history = train(network(), **EVERYTHING)

    def begin(rank):
        steps = iter([False] * 6 + [True] * 9)
        fit = {"stop": lambda: next(steps), "checkpoints": Checkpoints(tmp_path / "c", report=lambda sentence: None)}
        with pytest.raises(TrainingStopped):
            train(network(), fit=fit, **EVERYTHING)

    def go_on(rank):
        checkpoints = Checkpoints(tmp_path / "c", resume=True, report=lambda sentence: None)
        return train(network(), fit={"checkpoints": checkpoints}, **EVERYTHING)

    on_ranks(2, begin)
    state, rest = on_ranks(4, go_on)[0]
    assert difference(undisturbed, state) < 1e-12
    assert np.allclose(rest[-1], history[-1], rtol=1e-12)


def test_a_nan_on_one_rank_raises_the_same_error_on_all(monkeypatch):
    loss = TrainingStep.loss

    def lost_on_rank_1(self, *arguments):
        return loss(self, *arguments) * (np.nan if get_communicator().rank == 1 else 1.0)

    def run(rank):
        trainer = trainer_for(network(normalise=False, drop=False))
        with pytest.raises(TrainingDivergedError) as error:
            trainer.fit(IMAGES, LABELS, epochs=1)
        return str(error.value)

    monkeypatch.setattr(TrainingStep, "loss", lost_on_rank_1)
    first, *others = on_ranks(3, run)
    assert first.startswith("the loss became nan in epoch 1, step 1 of 5")
    assert others == [first] * 2


def test_an_error_on_rank_0_raises_on_all_ranks():
    def work(rank):
        def load():
            raise DataError("no such file")

        with pytest.raises((DataError, SettingError), match="no such file"):
            on_rank_0(load)
        return on_rank_0(lambda: "done"), rank_0_first(lambda: rank.rank)

    assert on_ranks(2, work) == [("done", 0), (None, 1)]


@pytest.mark.parametrize("other", [1, 2])
def test_ranks_with_different_settings_raise(other):
    def work(rank):
        with pytest.raises(
            SettingError, match=f"rank {other} and rank 0 have different runs: seed 0 on rank 0, 1 here"
        ):
            check_agreement(rank, {"seed": int(rank.rank == other), "data": "abc"})

    on_ranks(3, work)


def test_a_single_process_is_the_default_communicator():
    alone = get_communicator()
    assert (alone.rank, alone.size, alone.launcher) == (0, 1, [])
    with communicator.use_communicator(communicator.SingleProcess()) as other:
        assert get_communicator() is other is not alone
    assert get_communicator() is alone
    with sharding.sharded_batch(5) as shard:
        assert sharding.current_shard() is None
        assert (shard.rows, shard.weight) == (slice(0, 5), None)
