"""One run of ``tinycnn train``: data, network, training, results, plots."""

import dataclasses
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinycnn import data, models
from tinycnn.backends import get_backend, passed_over, use_backend, use_tf32
from tinycnn.backends.preparation import announcing
from tinycnn.backends.threads import get_threads, set_threads
from tinycnn.data.load_options import applicable
from tinycnn.distributed.agreement import check_agreement
from tinycnn.distributed.communicator import get_communicator, on_rank_0, rank_0_first
from tinycnn.errors import SettingError, in_shell, printable
from tinycnn.layers import Sequential
from tinycnn.metrics import percent
from tinycnn.run.build import callbacks_of, make_model, make_trainer, output_folder
from tinycnn.run.console import command_line, counted, print_line
from tinycnn.run.folder import CHECKPOINTS, METRICS, locked_folder
from tinycnn.run.options import TrainConfig
from tinycnn.run.progress import epoch_line, progress_display
from tinycnn.run.remarks import remarks, training_line, without_effect
from tinycnn.run.results import best_epoch, replaced_run, stopped_early, versions, working_folder, write_results
from tinycnn.run.stop_signals import Stopped, StopSignals
from tinycnn.saving.model_file import of_bytes
from tinycnn.saving.state_file import fingerprint
from tinycnn.train.checkpoint import BEST_FILE, BestNetwork, Checkpoints, TrainingStopped
from tinycnn.train.divergence import TrainingDivergedError, evaluate_finite
from tinycnn.train.step import never
from tinycnn.train.warm_up import warm_up


def train(
    config: TrainConfig,
    source: Sequential | None = None,
    *,
    config_for: Callable[[str, int], TrainConfig] | None = None,
    in_options: Callable[[str], str] = str,
) -> int:
    """Train with the settings ``config`` in a folder that no other run uses; returns the exit code.

    ``source``: the network in ``config.init_from``. ``config_for``: the settings for the name of the data set and the
    number of its training images, once it is loaded; None for ``config``. ``in_options`` converts the argument names in
    library messages to command-line options.
    """
    if config.threads is not None:
        set_threads(config.threads)
    use_backend(config.backend)
    use_tf32(config.tf32)
    dataset = rank_0_first(lambda: load_data(config))  # rank 0 downloads
    config = config_for(dataset.name, len(dataset.x_train)) if config_for else config
    with locked_folder(output_folder(config, dataset)) as output:
        return TrainingRun(config, dataset, output, source, in_options).complete()


def load_data(config: TrainConfig) -> data.Dataset:
    """The data set of a run."""
    return data.load(
        config.dataset,
        limit=config.limit,
        **applicable(
            config.dataset,
            data_dir=config.data_dir,
            image_size=config.image_size,
            colour=config.colour,
            pixels=config.pixels,
            memory=config.memory and config.memory << 20,
        ),
    )


class TrainingRun:
    """One run from its data to its plots: ``complete`` calls the methods below it in order."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: data.Dataset,
        output: Path,
        source: Sequential | None,
        in_options: Callable[[str], str],
    ) -> None:
        self.config, self.dataset, self.output, self.in_options = config, dataset, output, in_options
        self.shown = Path(printable(str(output)))  # in messages: the name may contain line breaks
        self.ranks = get_communicator()
        self.checkpoints = checkpoints_in(output, config, self.warn, fingerprint(dataset.x_test, dataset.y_test))
        check_agreement(self.ranks, self.checkpoints.same)
        x_train, y_train, x_valid, y_valid = data.split_validation(
            dataset.x_train, dataset.y_train, config.validation_split, seed=config.seed
        )
        self.training, self.validation = (x_train, y_train), (x_valid, y_valid)
        self.model, self.origin = make_model(config, dataset, source)
        self.trainer = make_trainer(config, self.model, len(x_train))
        self.callbacks = callbacks_of(config)
        self.compile_s = self.training_s = 0.0
        self.stop: Callable[[], bool] = never  # the signals, while they are waited for
        self.epochs = self.trainer.epochs(  # resumes now: what it refuses is known before anything is compiled
            *self.training,
            epochs=config.epochs,
            validation=self.validation,
            callbacks=[*self.callbacks, *progress_display(quiet=config.quiet)],
            checkpoints=self.checkpoints,
            stop=lambda: self.stop(),
        )

    def complete(self) -> int:
        """Execute the run; returns the exit code."""
        self.print_header()
        self.compile()
        with StopSignals() as stop:
            try:
                self.train(stop)
            except TrainingStopped as stopped:
                self.warn(stopping_message(f"{stopped}", stopped.checkpoint))
                return stop.exit_code
        try:  # the state is saved: from here on, a signal ends the work at once
            stop.raise_if_received()
            metrics = self.metrics_or_nothing()
            with StopSignals() as stop:  # except for the moment of writing
                if self.ranks.rank == 0:
                    self.write(metrics)
        except Stopped as signalled:
            self.warn(stopping_message("stopped before the results were complete", self.checkpoints.newest))
            return signalled.exit_code
        if self.ranks.rank == 0 and not self.config.no_plots:
            try:
                stop.raise_if_received()
                self.draw(metrics)
            except Stopped as signalled:
                command = shlex.join(["tinycnn", "report", str(self.output)])
                self.warn(
                    f"\nstopped before the pictures were drawn; the results are complete. To draw them:\n  {command}"
                )
                return signalled.exit_code
        return 0

    def info(self, text: str) -> None:
        """Print ``text`` unless the run is quiet."""
        if not self.config.quiet:
            print_line(self.in_options(text))

    def warn(self, text: str) -> None:
        """Print ``text`` on standard error, even in a quiet run."""
        print(self.in_options(text), file=sys.stderr, flush=True)

    def print_header(self) -> None:
        """Print the data, the backend, the settings and the network."""
        info, config, dataset = self.info, self.config, self.dataset
        if dataset.notice:
            self.warn(dataset.notice)
        replaced = replaced_run(self.output, config.as_json(), resumed=config.resume)
        if replaced:
            self.warn(f"earlier   {replaced}")
        train, validation, test = self.counts().values()
        info(f"data      {dataset.name}: {train:,} training, {validation:,} validation, {test:,} test images")
        info(f"          from {dataset.source}")
        computing = ", ".join(f"{name} {version}" for name, version in versions().items())
        info(f"backend   {get_backend().name}, {counted(get_threads(), 'thread')} ({computing})")
        for reason in passed_over(get_backend().name) if config.backend == "auto" else ():
            info(f"          because {reason}")
        if self.ranks.size > 1:
            info(f"ranks     {self.ranks.size}, each computing a shard of every batch")
        info(f"training  {training_line(config)}")
        for sentence in remarks(config, dataset, train):
            info(f"          {sentence}")
        for sentence in without_effect(config) if config.quiet else ():
            self.warn(sentence)
        if self.origin:
            info(f"start     {self.origin}")
        info(f"\n{config.model}: {models.network_or_default(config.model).description}\n{self.model.summary()}\n")

    def counts(self) -> dict[str, int]:
        """The number of images of each part of the data set."""
        parts = {"train": self.training[1], "validation": self.validation[1], "test": self.dataset.y_test}
        return {f"{part}_images": len(labels) for part, labels in parts.items()}

    def compile(self) -> None:
        """Compile the kernels before the clock starts."""
        with announcing(self.info):
            self.compile_s = warm_up(self.trainer, *self.training)
        if self.compile_s > 0.1:
            self.info(f"compiled  in {self.compile_s:.1f} s (excluded from the times below)")
        if self.trainer.why_eager:
            self.info(f"note      every step is run from Python, which is slower: {self.trainer.why_eager}")

    def train(self, stop: StopSignals) -> None:
        """Train all epochs, or the remaining epochs of a resumed run."""
        config, start, self.stop = self.config, time.perf_counter(), stop
        try:
            for result in self.epochs:
                self.info(epoch_line(result, config.epochs))
        except TrainingDivergedError:
            for path in self.checkpoints.paths()[:1]:
                self.warn(f"the last good checkpoint is {printable(str(path))}")
            if config.save_best and self.checkpoints.best_path.exists():
                self.warn(f"the best network so far is {printable(str(self.checkpoints.best_path))}")
            raise
        self.training_s = max(time.perf_counter() - start, 0.0) + self.trainer.earlier_training_s

    def metrics_or_nothing(self) -> dict[str, Any]:
        """``metrics()``; a run whose network cannot be evaluated leaves no checkpoint that was only saved for that."""
        try:
            return self.metrics()
        except TrainingDivergedError:
            if self.ranks.rank == 0 and not (self.config.resume or self.config.checkpoint_every):
                self.checkpoints.clear()
            raise

    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``; evaluates the network on the test images."""
        config, dataset, history = self.config, self.dataset, self.trainer.history
        kept = self.best_network()
        if config.early_stopping is not None:
            self.restore(kept)
        test = evaluate_finite(self.trainer, dataset.x_test, dataset.y_test, "after the last step")
        return {
            "model": config.model,
            "backend": get_backend().name,
            "dataset": dataset.name,
            "data_source": dataset.source,
            "working_folder": working_folder(self.output),
            "seed": config.seed,
            "options": config.as_json(),
            "versions": versions(),
            "ranks": self.ranks.size,
            **self.counts(),
            "epochs": [dataclasses.asdict(result) for result in history],
            "test_accuracy": test.accuracy,
            "test_loss": test.loss,
            "stopped_early": stopped_early(history, config.epochs, config.early_stopping),
            "best": best_epoch(kept.content, history, dataset) if kept else None,
            "training_s": self.training_s,
            "compile_s": self.compile_s,
        }

    def best_network(self) -> BestNetwork | None:
        """The network of the epoch with the smallest validation loss; None without ``save_best``, or if it was lost."""
        if not self.config.save_best or self.ranks.rank:
            return None
        missing = self.checkpoints.missing_best(self.trainer.history)
        if missing:
            self.warn(f"the network of the best epoch, {missing}, was not kept, so there is no {BEST_FILE}")
        return None if missing else self.checkpoints.best

    def restore(self, kept: BestNetwork | None) -> None:
        """Put the weights of ``kept``, which rank 0 has, into the network of every rank; None changes nothing."""
        content = self.ranks.broadcast(kept.content if kept else b"")
        if content:
            self.model.load_state_dict(of_bytes(content, BEST_FILE).state_dict())

    def write(self, metrics: dict[str, Any]) -> None:
        """Write the results to the output folder and print them."""
        if metrics["stopped_early"]:
            self.info(f"stopped   early {metrics['stopped_early']}")
        kept = self.checkpoints.best if metrics["best"] else None
        try:
            written, earlier = write_results(
                self.output, self.model, self.trainer.history, metrics, kept.content if kept else None
            )
        except OSError:
            self.warn(self.what_is_saved())
            raise
        if not self.config.checkpoint_every:
            self.checkpoints.clear()
        elif not self.config.save_best:
            self.checkpoints.clear_best()  # left by an unfinished run
        print_line(result_line(metrics))
        if metrics["best"]:
            print_line(best_line(metrics, self.shown))
        written += ["checkpoints"] * (self.config.checkpoint_every is not None)
        self.info(f"written   {', '.join(written)} in {self.shown}")
        if earlier:
            what = "run" if (earlier / METRICS).exists() else "files"
            self.info(f"kept      the earlier {what}, in {printable(str(earlier))}")

    def what_is_saved(self) -> str:
        """Where the run can continue when its results could not be written."""
        if self.checkpoints.newest:
            saved = f"the state after the last step is saved in {printable(str(self.checkpoints.newest))}"
            return f"{saved}: to write the results, run the command again with --resume"
        if paths := self.checkpoints.paths():
            return f"the run can continue from {printable(str(paths[0]))}: run the command again with --resume"
        return "no checkpoint could be written either: this run is lost"

    def draw(self, metrics: dict[str, Any]) -> None:
        """Write the plots. An error is reported and does not fail the run, as the results are already written."""
        self.info("plots     are being drawn, which can take a minute; --no-plots leaves them out")
        try:
            from tinycnn import report  # loads Matplotlib

            drawn = report.draw(self.output, self.model, self.dataset, metrics)
        except Exception as error:
            self.warn(f"plots     could not be drawn ({error}); results and model are not affected")
            return
        for failure in drawn.failures:
            self.warn(f"plots     not drawn: {failure}")
        self.info(
            f"plots     {len(drawn.files)} files in {drawn.seconds:.1f} s: open {in_shell(self.output / 'report.html')}"
        )


def checkpoints_in(output: Path, config: TrainConfig, report: Callable[[str], None], test_images: str) -> Checkpoints:
    """The checkpoints of the run in ``output``; raises SettingError when there is nothing left to resume.

    ``test_images``: their fingerprint.
    """
    checkpoints = Checkpoints(
        output / CHECKPOINTS,
        every=config.checkpoint_every,
        at_end=True,  # so that nothing is lost while the network is evaluated and drawn
        resume=config.resume,
        keeps_best=config.save_best,
        same={"test data": test_images},
        report=report,
    )

    def check_unfinished() -> None:
        if config.resume and (output / "metrics.json").exists() and not checkpoints.paths():
            checkpoints.clear()  # its process may have been killed before it deleted the empty folder
            raise SettingError(
                f"--resume: the run in {printable(str(output))} is finished; rerun without --resume, or choose another "
                "--output; to train its network further, pass --init-from with its model.safetensors"
            )

    on_rank_0(check_unfinished)
    return checkpoints


def stopping_message(stopped: str, checkpoint: Path | None) -> str:
    """Where the run stopped, where its state is saved, and the command that resumes it."""
    command = get_communicator().launcher + [word for word in command_line() if word != "--resume"]
    saved = f"saved to {printable(str(checkpoint))}" if checkpoint else "this state could not be saved"
    return f"\n{stopped}; {saved}. To continue:\n  {shlex.join([*command, '--resume'])}"


def result_line(metrics: dict[str, Any]) -> str:
    """Accuracy and loss on the test images."""
    where = f"on all {metrics['test_images']:,} {metrics['dataset']} test images"
    where += " (after the last epoch)" if metrics["options"]["save_best"] and not is_best(metrics) else ""
    return f"test      accuracy {percent(metrics['test_accuracy'])}, loss {metrics['test_loss']:.4f} {where}"


def is_best(metrics: dict[str, Any]) -> bool:
    """Whether the network of the run is that of the best epoch, as after early stopping."""
    return metrics["options"]["early_stopping"] is not None and metrics["best"] is not None


def best_line(metrics: dict[str, Any], output: Path) -> str:
    """The best epoch, and where its network is."""
    epoch, accuracy = metrics["best"]["epoch"], metrics["best"]["test_accuracy"]
    if is_best(metrics):
        return f"best      epoch {epoch}, whose network is in {output / 'model.safetensors'}"
    return f"best      epoch {epoch}, test accuracy {percent(accuracy)}: {output / BEST_FILE}"
