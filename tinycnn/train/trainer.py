"""The training loop: each epoch takes its steps, and then validates the network.

`Trainer.fit` trains. `Trainer.epochs` is the loop over epochs, `Trainer.train_epoch` the loop over steps, and
``step.py`` the step itself. Pixels and labels are copied to the backend once (`StoredImages` part by part). Each epoch
copies one shuffled list of indices to the backend and reads two numbers back: the loss and the correct predictions.
`Trainer.state_dict` contains everything that a run needs to continue after any step with bit-identical results; a
checkpoint is this state in a file.
"""

import logging
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict
from functools import partial
from typing import Any, ClassVar

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.backends.preparation import announcing
from tinycnn.data.augment import NAMES, Augmentation, Fade, named
from tinycnn.distributed.communicator import any_rank, get_communicator
from tinycnn.errors import FileFormatError, SettingError, in_range, shortened, whole_number
from tinycnn.layers import Sequential
from tinycnn.optim import Optimizer, WeightAverage
from tinycnn.other_names.arguments import NamedArguments, named_arguments
from tinycnn.other_names.attributes import TRAINER_ATTRIBUTES, TRAINER_NO_EFFECT, CheckedAttributes
from tinycnn.train.batches import Sampler, Selection, batches, to_backend
from tinycnn.train.callbacks.base import AfterStep, Callback
from tinycnn.train.callbacks.early_stopping import stopping_after
from tinycnn.train.callbacks.progress_bar import ProgressBar
from tinycnn.train.callbacks.running import RunningCallbacks, checked_callbacks, load_states, settings_of, states_of
from tinycnn.train.capture import StepCapture
from tinycnn.train.checkpoint import Checkpoints
from tinycnn.train.checkpoint_manager import CheckpointManager
from tinycnn.train.divergence import DivergenceCheck, evaluate_finite
from tinycnn.train.evaluation import Scores
from tinycnn.train.history import FIELDS, EpochResult, History, Progress, epoch_result, with_validation
from tinycnn.train.identity import check_ranks_agree, run_identity
from tinycnn.train.memory_estimate import explain_memory_errors
from tinycnn.train.objective import CLASSIFICATION, LossFunction, Objective, objective
from tinycnn.train.own_layers import explaining_own_layers, not_registered, without_gradient
from tinycnn.train.own_optimizer import OWN_OPTIMIZER, check_counted
from tinycnn.train.remarks import about_images, about_training, check_batch_norm, nothing_to_train, remark
from tinycnn.train.run_data import RunData, run_data
from tinycnn.train.step import StopRequest, TrainingStep, never
from tinycnn.train.stream import BatchStream
from tinycnn.train.validation import Metric, Metrics, checked_metrics, measure


class Trainer(NamedArguments, CheckedAttributes):
    """Trains ``model`` with ``optimizer`` on uint8 images, and stores everything that changes during a run.

    ``seed`` determines the order of the images. ``augment`` changes the images of each batch, with a strength that
    ``fade`` reduces towards the end of the run: an augmentation, or one of the names "affine", "flip_and_crop" and
    "alternating_flip". ``loss``: a name in ``objective.py``, which lists the labels that each
    loss takes, or a function ``(outputs, labels) → Tensor ()``. ``label_smoothing`` and ``clip_norm`` are passed to
    `TrainingStep`. ``average_weights``: the decay of a moving average of the weights, such as 0.999 (`WeightAverage`),
    with which the network is validated, and which it has whenever it is not being trained; None for no average.
    ``initial_weights`` is a fingerprint of the weights at the start, for a run whose ``seed`` does not determine them.
    ``capture``: record the steps and replay them (``capture.py``), with bit-identical results.
    """

    foreign_attributes: ClassVar[dict[str, str]] = TRAINER_ATTRIBUTES
    ignored_attributes: ClassVar[dict[str, str]] = TRAINER_NO_EFFECT

    def __init__(
        self,
        model: Sequential,
        optimizer: Optimizer,
        *,
        batch_size: int,
        seed: int = 0,
        augment: Augmentation | str | None = None,
        fade: Fade | None = None,
        loss: str | LossFunction | Objective = "softmax_cross_entropy",
        label_smoothing: float = 0.0,
        clip_norm: float | None = None,
        average_weights: float | None = None,
        initial_weights: str | None = None,
        capture: bool = True,
    ) -> None:
        augment = named(augment) if isinstance(augment, str) and augment in NAMES else augment
        _check_parts(model, optimizer, augment, fade)
        self.model, self.optimizer = model, optimizer
        self.batch_size, self.seed = whole_number("batch_size", batch_size, at_least=1), whole_number("seed", seed)
        self.augment: Any = augment
        self.fade, self.initial_weights = fade, initial_weights
        self.label_smoothing = in_range("label_smoothing", label_smoothing, at_least=0, below=1)
        self.objective = objective(loss)
        if self.label_smoothing and self.objective is not CLASSIFICATION:
            raise SettingError(f"`label_smoothing` is for softmax_cross_entropy, not for {self.objective.name}")
        self.clip_norm = None if clip_norm is None else in_range("clip_norm", clip_norm, above=0)
        self.average = None if average_weights is None else WeightAverage(model, average_weights)
        self.history = History()  # of all epochs, including those before the loaded checkpoint
        self.progress: Progress | None = None  # of the current epoch; None between two epochs
        self.epoch_s, self.epoch_images = 0.0, 0  # seconds and images of the last epoch
        self.earlier_training_s = 0.0  # seconds of training up to the loaded checkpoint
        self.capture, self.reported = StepCapture(capture), set[str]()  # sentences, each once
        self.stop_request = StopRequest()
        self.weights: Array | None = None  # of the training images, see `TrainingStep`
        self.callbacks: list[Callback] = []  # of the run in progress
        # callbacks read and set these: `callbacks.base.TrainerInRun` says what they are
        self.last_epoch, self.stop_training, self.columns = 0, False, list(FIELDS)

    def __getstate__(self) -> dict[str, Any]:
        """The state to pickle or copy: without the callbacks, which belong to one run."""
        return vars(self) | {"callbacks": []}

    @property
    def training_step(self) -> TrainingStep:
        """The step, with the current settings."""
        return TrainingStep(
            self.model,
            self.optimizer,
            loss=self.objective,
            label_smoothing=self.label_smoothing,
            clip_norm=self.clip_norm,
            stop_request=self.stop_request,
            weights=self.weights,
            average=self.average,
        )

    @property
    def sampler(self) -> Sampler:
        """The sampler of images and augmentations, with the current settings."""
        return Sampler(self.batch_size, self.seed, self.augment, self.fade)

    @property
    def why_eager(self) -> str:
        """Why every step is run from Python although ``capture`` is on; "" if it is recorded or the backend cannot."""
        return self.capture.why_eager

    @named_arguments
    def fit(
        self,
        images: Any,
        labels: Any = None,
        *,
        epochs: int,
        steps_per_epoch: int | None = None,
        validation: Any = None,
        validation_split: float | None = None,
        early_stopping: int | None = None,
        sample_weight: np.ndarray | None = None,
        validation_weight: np.ndarray | None = None,
        metrics: Metrics = (),
        callbacks: Sequence[Callback] = (),
        progress: Callable[[Progress], None] | bool | None = None,
        checkpoints: Checkpoints | None = None,
        stop: Callable[[], bool] = never,
    ) -> History:
        """Train on ``images (M, H, W, C)`` and ``labels (M,)`` until the history contains ``epochs`` epochs.

        Returns the `History` of these epochs; ``self.history`` also contains those of earlier calls and of the
        checkpoint that the run was resumed from.

        ``images`` are bytes, which are divided by 255 unless ``model.pixels`` is ``0..255``, or floats in the range
        that ``model.pixels`` states. `StoredImages` remain on disk. ``labels`` are class indices, one-hot rows or
        probabilities ``(M, K)``, or what ``loss`` takes. Instead of both, pass an iterable of batches ``(images,
        labels)``: an epoch is one pass over it, or ``steps_per_epoch`` batches. ``validation`` is a pair, or such an
        iterable; ``validation_split`` holds out this fraction of the images instead, chosen by ``seed``.

        ``sample_weight (M,)`` weights the images: the training loss is ``Σ weight · loss / Σ weight`` over all
        of them, of which each batch computes its part; the accuracy counts each image once. ``validation_weight``
        weights loss and accuracy of the validation images.

        ``metrics``: functions ``(labels (M,), outputs (M, K)) → number`` of the validation images, in a list or by name
        in a dictionary; the results are in ``EpochResult.metrics``. ``callbacks``: objects whose methods are called
        during the run, see `tinycnn.train.Callback`. ``early_stopping=n`` stops when the validation loss has
        not improved for ``n`` epochs, and leaves the network with the weights of the best epoch: it is
        `EarlyStopping(n, restore_best=True)`. ``progress=True`` shows a progress bar; a function is called after every
        step.

        ``stop`` is called after every step, too: when it returns True, the state is saved to ``checkpoints`` and
        TrainingStopped is raised. With several ranks, all of them stop after the same step. Raises DataError for images
        that the network and labels that the loss does not take, TrainingDivergedError when a number is no longer
        finite, SettingError for a setting out of its range and when the checkpoint to resume from belongs to another
        run.
        """
        return History(
            self.epochs(
                images,
                labels,
                epochs=epochs,
                steps_per_epoch=steps_per_epoch,
                validation=validation,
                validation_split=validation_split,
                early_stopping=early_stopping,
                sample_weight=sample_weight,
                validation_weight=validation_weight,
                metrics=metrics,
                callbacks=callbacks,
                progress=progress,
                checkpoints=checkpoints,
                stop=stop,
            )
        )

    @named_arguments
    def epochs(
        self,
        images: Any,
        labels: Any = None,
        *,
        epochs: int,
        steps_per_epoch: int | None = None,
        validation: Any = None,
        validation_split: float | None = None,
        early_stopping: int | None = None,
        sample_weight: np.ndarray | None = None,
        validation_weight: np.ndarray | None = None,
        metrics: Metrics = (),
        callbacks: Sequence[Callback] = (),
        progress: Callable[[Progress], None] | bool | None = None,
        checkpoints: Checkpoints | None = None,
        stop: Callable[[], bool] = never,
    ) -> Iterator[EpochResult]:
        """The epochs of ``fit``, one at a time: ``for result in trainer.epochs(images, labels, epochs=5)``.

        Takes the arguments of ``fit``; checks them, and resumes from a checkpoint, at once. An epoch is trained when
        its result is requested, so the body of the loop may change network, optimizer and trainer between two epochs.
        The state is saved when the next result is requested, so that it includes these changes.
        """
        epochs = whole_number("epochs", epochs)
        _check_calls(progress, checkpoints, stop)
        data = run_data(
            self.model,
            self.objective,
            images,
            labels,
            steps_per_epoch=steps_per_epoch,
            validation=validation,
            validation_split=validation_split,
            sample_weight=sample_weight,
            validation_weight=validation_weight,
            seed=self.seed,
        )
        if not isinstance(data.training, BatchStream):
            check_batch_norm(self.model, min(self.batch_size, len(data.training[0])))
        if early_stopping is not None and not data.validation:
            raise SettingError("`early_stopping` compares validation losses: it requires validation images")
        functions = checked_metrics(metrics)
        if functions and not data.validation:
            raise SettingError("`metrics` are computed on validation images: pass `validation=(images, labels)`")
        self.columns = [name for name in FIELDS if data.validation or not name.startswith("validation_")]
        self.objective.check_ranks(get_communicator().size)
        if not self.objective.has_accuracy:
            self.columns = [name for name in self.columns if not name.endswith("_accuracy")]
        self.columns += functions
        self.callbacks = checked_callbacks(callbacks)
        if early_stopping is not None:
            self.callbacks.insert(0, stopping_after(early_stopping))
        if progress is True:
            self.callbacks.insert(0, ProgressBar())  # its line comes before what other callbacks print
        elif progress:
            self.callbacks.append(AfterStep(progress))
        self.stop_request = StopRequest(stop)
        return self._averaged(self._epochs(data, epochs, functions, self._resumed(data, epochs, checkpoints)))

    def _resumed(self, data: RunData, epochs: int, checkpoints: Checkpoints | None) -> CheckpointManager:
        """Compare the run with those of the other ranks and of its checkpoints, and resume it if there are any."""
        identity, (own, _) = dict[str, Any](), data.weights
        self.weights = None if own is None else get_backend().asarray(own.astype(self.model.dtype))
        if checkpoints or get_communicator().size > 1:  # otherwise there is nothing to compare with
            identity = run_identity(
                self.training_step,
                self.sampler,
                data.training,
                data.validation,
                data.weights,
                callbacks=settings_of(self.callbacks),
                initial_weights=self.initial_weights,
            )
        check_ranks_agree(identity, self.model, epochs)
        manager = CheckpointManager(self, checkpoints, self.stop_request, identity)
        done = len(self.history)
        manager.resume()
        if len(self.history) + (self.progress is not None) > epochs:
            raise SettingError(f"the run is already past epoch {epochs}: continue with more `epochs`")
        if 0 < done == epochs:
            self._report("note: ", nothing_to_train(done), logging.WARNING)
        return manager

    def _epochs(
        self, data: RunData, epochs: int, metrics: dict[str, Metric], manager: CheckpointManager
    ) -> Iterator[EpochResult]:
        """The loop over epochs: train, validate and save until the run ends."""
        self.stop_training, self.last_epoch, validation, (_, held) = False, epochs, data.validation, data.weights
        images: Any
        labels: Any
        notes: list[str] = []
        if isinstance(data.training, BatchStream):
            images, labels, steps = data.training, None, data.training.steps
        else:
            notes += about_images(self.model, data.training[0], validation and validation[0], self.batch_size)
            images, labels = to_backend(*data.training)
            steps = math.ceil(len(labels) / self.batch_size)
        steps = (epochs - len(self.history)) * steps - (self.progress.step if self.progress else 0)
        for note in notes + about_training(self.model, self.objective, self.optimizer, steps):
            self._report("note: ", note, logging.WARNING)
        self._report("note: ", not_registered(self.model), logging.INFO)
        with announcing(partial(self._report, "")), RunningCallbacks(self, self.callbacks) as hooks:
            while len(self.history) < epochs and not any_rank(self.stop_training):
                epoch = len(self.history) + 1
                with manager.saving_on_error():
                    hooks.epoch_begin(epoch)
                trained = self.train_epoch(images, labels, epoch, hooks, manager)
                result = epoch_result(epoch, trained, self.epoch_images, self.epoch_s, self._last_rate())
                if self.average:
                    self.average.put_in()
                if validation:
                    validated = evaluate_finite(self, *validation, f"after epoch {epoch}", held)
                    result = with_validation(result, validated, measure(self.model, *validation, metrics))
                self.history.append(result)
                manager.keep_best(self.model, self.history)
                with manager.saving_on_error():
                    hooks.epoch_end(result)
                self._report("note: every step is run from Python, which is slower: ", self.why_eager)
                yield result
                manager.after_epoch(epoch)
            manager.after_last_epoch()

    def report(self, sentence: str) -> None:
        """Print or log a sentence of a callback."""
        self._report("", sentence)

    def _report(self, label: str, sentence: str, level: int = logging.INFO) -> None:
        """Print or log a sentence, see ``remarks.py``, unless it is empty or this trainer has reported it before."""
        if sentence and sentence not in self.reported:
            self.reported.add(sentence)
            remark(label + sentence, self.callbacks, level)

    def _averaged(self, results: Iterator[EpochResult]) -> Iterator[EpochResult]:
        """``results``; when they end, or are not wanted any more, the network has the averages of its weights."""
        try:
            yield from results
        finally:
            if self.average:
                self.average.put_in()

    def train_epoch(
        self,
        images: Array,
        labels: Array,
        epoch: int,
        hooks: RunningCallbacks | None = None,
        manager: CheckpointManager | None = None,
    ) -> Scores:
        """The loop over steps: all images once, in a new order, or the remaining ones of a resumed epoch."""
        if self.average:
            self.average.take_out()
        self.model.train()
        step, sampler = self.training_step, self.sampler
        steps, selections = epoch_of(images, labels, sampler, epoch)
        current = self._progress(epoch, steps)
        divergence = DivergenceCheck(step, sampler, None if isinstance(images, BatchStream) else selections, current)
        explained = explain_memory_errors(self.model, -(-self.batch_size // get_communicator().size))
        remaining = selections(current.step)
        watched = hooks if hooks and hooks.look_at_steps else None
        saving_on_error = partial(manager.saving_on_error, divergence.is_finite) if manager else nullcontext
        with self.capture.epoch(step, sampler, images, labels, current) as captured, explained, closing(remaining):
            for images_on_backend, labels_on_backend, chosen in remaining:
                if watched:
                    with saving_on_error():
                        watched.step_begin(current)
                with np.errstate(all="ignore"):  # DivergenceCheck replaces these warnings
                    if not (captured and captured.take(current)):
                        current.add(*self.step(images_on_backend, labels_on_backend, chosen, epoch), len(chosen))
                to_save = manager is not None and manager.due()
                if to_save or divergence.due():
                    divergence.check()
                if watched:
                    with saving_on_error():
                        watched.step_end(current)
                if manager and to_save:
                    manager.save(f"after step {current.step} of {current.steps} in epoch {epoch}")
        if current.step != current.steps:  # the number of batches was not known
            divergence.check()
        scores = current.scores()  # synchronises with the GPU, so its time is included
        self.progress, self.epoch_s, self.epoch_images = None, current.elapsed_s(), current.seen
        return scores

    def step(self, images: Array, labels: Array, chosen: Array, epoch: int = 1) -> tuple[Array, Array]:
        """Take one step on the images ``chosen (N,)`` → mean loss ``()``, correct predictions ``()``."""
        before = self.optimizer.step_count
        batch = self.sampler.batch(images, labels, chosen, epoch, before)
        with explaining_own_layers(self.model):
            result = self.training_step(batch)
        check_counted(self.optimizer, before)
        if not before:
            self._report("note: ", without_gradient(self.model, self.optimizer), logging.WARNING)
        return result

    def _last_rate(self) -> float:
        """The learning rate of the last step."""
        return self.optimizer.rate(self.optimizer.step_count - 1)

    def _progress(self, epoch: int, steps: int) -> Progress:
        """The progress of a new or resumed epoch; starts its timer."""
        if self.progress is None or (self.progress.epoch, self.progress.steps) != (epoch, steps):
            self.progress = Progress(epoch, steps)
        self.progress.start_clock()
        return self.progress

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes during a run, on the host: nested dictionaries, lists, numbers and arrays."""
        with self.average.applied(False) if self.average else nullcontext():
            weights = self.model.state_dict()
        return {
            "model": weights,
            "counters": self.model.counters(),
            "optimizer": self.optimizer.state_dict(),
            "history": [asdict(result) for result in self.history],
            "running": self.progress.state_dict() if self.progress and self.progress.step else None,
            "callbacks": states_of(self.callbacks),
            **({"average": self.average.state_dict()} if self.average else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of ``state_dict()``, bit for bit; raises ShapeError for a different network."""
        keys = {"model", "counters", "optimizer", "history", "running"}
        if not isinstance(state, dict) or keys - state.keys():
            raise FileFormatError(f"expected the state of a trainer, with {', '.join(sorted(keys))}")
        if ("average" in state) != (self.average is not None):
            words = "contains an" if "average" in state else "contains no"
            raise SettingError(f"the state of the trainer {words} average of the weights: see `average_weights`")
        if self.average:
            self.average.take_out()
            self.average.load_state_dict(state["average"])
        self.model.load_state_dict(state["model"])
        self.model.load_counters(state["counters"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = History(EpochResult(**result) for result in state["history"])
        self.progress = Progress.from_state(state["running"]) if state["running"] else None
        load_states(self.callbacks, state.get("callbacks", []))  # older versions had none
        self.earlier_training_s = sum(result.epoch_s for result in self.history)
        self.earlier_training_s += self.progress.elapsed_s() if self.progress else 0


def epoch_of(
    images: Array, labels: Array, sampler: Sampler, epoch: int
) -> tuple[int, Callable[[int], Generator[Selection, None, None]]]:
    """The steps of an epoch, 0 if not known, and a function that yields its batches after a number of steps."""
    if isinstance(images, BatchStream):
        return images.steps, images.selections
    order = sampler.order(images, epoch)
    return math.ceil(len(labels) / sampler.batch_size), partial(batches, images, labels, order, sampler.batch_size)


def _check_calls(progress: Any, checkpoints: Any, stop: Any) -> None:
    """Raise SettingError unless these are valid arguments of ``fit``."""
    if checkpoints is not None and not isinstance(checkpoints, Checkpoints):
        raise SettingError(f"`checkpoints` is {shortened(checkpoints)}: expected Checkpoints(folder) or None")
    if not callable(stop) or not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise SettingError("`progress` and `stop`: expected functions, which fit calls after each step")


def _check_parts(model: Any, optimizer: Any, augment: Any, fade: Any) -> None:
    """Raise SettingError unless these are valid arguments of a Trainer."""
    if not isinstance(model, Sequential):
        raise SettingError(f"`model` is a {type(model).__name__}: expected a network, such as Sequential(...)")
    if not isinstance(optimizer, Optimizer):
        example = "tinycnn.optim.Adam(model.parameters())"
        hint = f"; {OWN_OPTIMIZER}" if callable(getattr(optimizer, "step", None)) else ""
        raise SettingError(f"`optimizer` is {shortened(optimizer)}: expected an optimizer, such as {example}{hint}")
    own = {id(parameter) for _, parameter in model.named_parameters()}
    if not any(id(parameter) in own for parameter in optimizer.parameters):
        others = "`optimizer` has no parameter of this network, so nothing would be trained"
        raise SettingError(f"{others}: make it anew, with model.parameters()")
    if augment is not None and not hasattr(augment, "maps"):
        expected = f"expected {', '.join(map(repr, NAMES))}, or an augmentation of tinycnn.data.augment, such as"
        examples = "Affine() for drawings or FlipAndCrop() for photographs"
        raise SettingError(f"`augment` is {shortened(augment)}: {expected} {examples}, or None")
    if fade is not None and not isinstance(fade, Fade):
        raise SettingError(f"`fade` is {shortened(fade)}: expected a Fade or None")
    if fade is not None and augment is None:
        raise SettingError("`fade` reduces the strength of an augmentation: pass `augment`, too")
