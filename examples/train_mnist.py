"""Train one of the networks, show how it goes, and write what came of it.

    python examples/train_mnist.py                                    # keras_cnn on MNIST, the fastest backend there is
    python examples/train_mnist.py --model lenet --backend numpy --epochs 1
    python examples/train_mnist.py --init-from runs/lenet-mnist/model.safetensors --dataset fashion_mnist

Results go to ``--output`` (default runs/<model>-<dataset>): metrics.json, history.csv, model.safetensors, report.html
and the pictures in it. Ctrl-C saves a checkpoint there, and the same command with ``--resume`` goes on.
"""

import argparse
import dataclasses
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import tinycnn
from tinycnn import data, distributed, models
from tinycnn.backends import passed_over, use_tf32
from tinycnn.backends.threads import get_threads
from tinycnn.distributed.communicator import get_communicator, on_rank_0, rank_0_first
from tinycnn.errors import SettingError, TinyCNNError, in_words
from tinycnn.run.console import tell
from tinycnn.run.folder import claimed
from tinycnn.run.options import make_model, make_trainer, output_folder, parse, remarks, training_line
from tinycnn.run.progress import epoch_line, progress_display
from tinycnn.run.results import best_epoch, replaced_run, stopped_early, versions, write_results
from tinycnn.run.stop_signals import StopSignals
from tinycnn.train.checkpoint import BEST_FILE, Checkpoints
from tinycnn.train.history import best
from tinycnn.train.keeper import TrainingStopped
from tinycnn.train.trainer import TrainingDivergedError, evaluate_finite
from tinycnn.train.warm_up import warm_up


def run(options: argparse.Namespace) -> int:
    """Train as ``options`` say, in a folder that is nobody else's meanwhile; answers the exit code."""
    tinycnn.use_backend(options.backend)
    use_tf32(options.tf32)
    dataset = rank_0_first(  # rank 0 downloads
        lambda: data.load(
            options.dataset,
            data_dir=options.data_dir,
            limit=options.limit,
            image_size=options.image_size,
            colour=options.colour,
            memory=options.memory and options.memory << 20,
        )
    )
    with claimed(output_folder(options, dataset)) as output:
        return Run(output, dataset, options).complete()


class Run:
    """One run from the data to the pictures; ``complete`` is the story, the methods below it are its chapters."""

    def __init__(self, output: Path, dataset: data.Dataset, options: argparse.Namespace) -> None:
        self.output, self.dataset, self.options = output, dataset, options
        self.ranks, self.checkpoints = get_communicator(), checkpoints_in(output, options)
        self.best = self.checkpoints.best if options.save_best and self.ranks.rank == 0 else None
        x_train, y_train, x_valid, y_valid = data.split_validation(
            dataset.x_train, dataset.y_train, options.validation_split, seed=options.seed
        )
        self.training, self.validation = (x_train, y_train), (x_valid, y_valid)
        self.model, self.origin = make_model(options, dataset)
        self.trainer = make_trainer(options, self.model, len(x_train))
        self.compile_s = self.training_s = 0.0

    def complete(self) -> int:
        self.introduce()
        self.compile()
        with StopSignals() as stop:
            try:
                self.train(stop)
            except TrainingStopped as stopped:
                print(stopping_line(stopped), file=sys.stderr)
                return stop.exit_code
        metrics = self.metrics()
        if self.ranks.rank == 0:
            self.write(metrics)
            if not self.options.no_plots:
                self.draw(metrics)
        return 0

    def say(self, *words: object) -> None:
        if not self.options.quiet:
            tell(*words)

    def introduce(self) -> None:
        """Say what is trained, on what, and what computes."""
        say, options, dataset = self.say, self.options, self.dataset
        if dataset.notice:
            print(dataset.notice, file=sys.stderr, flush=True)
        replaced = replaced_run(self.output, self.plain_options())
        if replaced:
            print(f"replaces  {replaced}", file=sys.stderr, flush=True)
        train, validation, test = self.counts().values()
        say(f"data      {dataset.name}: {train:,} training, {validation:,} validation, {test:,} test images")
        say(f"          from {dataset.source}")
        computing = ", ".join(f"{name} {version}" for name, version in versions().items())
        say(f"backend   {tinycnn.get_backend().name}, {get_threads()} threads ({computing})")
        for sentence in passed_over(tinycnn.get_backend().name) if options.backend == "auto" else ():
            say(f"          because {sentence}")
        if self.ranks.size > 1:
            say(f"ranks     {self.ranks.size}, each with its part of every batch")
        say(f"training  {training_line(options)}")
        for sentence in remarks(options, dataset, train):
            say(f"          {sentence}")
        if self.origin:
            say(f"start     {self.origin}")
        say(f"\n{options.model}: {models.known(options.model).description}\n{self.model.summary()}\n")

    def plain_options(self) -> dict[str, Any]:
        return {name: str(v) if isinstance(v, Path) else v for name, v in vars(self.options).items()}

    def counts(self) -> dict[str, int]:
        parts = {"train": self.training[1], "validation": self.validation[1], "test": self.dataset.y_test}
        return {f"{part}_images": len(labels) for part, labels in parts.items()}

    def compile(self) -> None:
        self.compile_s = warm_up(self.trainer, *self.training)
        if self.compile_s > 0.1:
            self.say(f"compiled  in {self.compile_s:.1f} s (kept for the next run; not part of the times below)")
        if self.trainer.why_eager:
            self.say(f"note      every step is run from Python, which is slower: {self.trainer.why_eager}")

    def train(self, stop: StopSignals) -> None:
        """All epochs, or those that are missing."""
        options, start = self.options, time.perf_counter()
        results = self.trainer.fit(
            *self.training,
            epochs=options.epochs,
            validation=self.validation,
            early_stopping=options.early_stopping,
            progress=progress_display(options.epochs, quiet=options.quiet),
            checkpoints=self.checkpoints,
            stop=stop,
        )
        try:
            for result in results:
                self.say(epoch_line(result, options.epochs))
                if self.best and result is best(self.trainer.history):
                    self.checkpoints.keep_best(self.model)
        except TrainingDivergedError:
            for path in self.checkpoints.paths()[:1]:
                print(f"the last good checkpoint is {path}", file=sys.stderr)
            if self.best and self.best.exists():
                print(f"the best network so far is {self.best}", file=sys.stderr)
            raise
        self.training_s = time.perf_counter() - start + self.trainer.spent_s

    def metrics(self) -> dict[str, Any]:
        """All that is known of the run, as metrics.json has it; evaluates on the test images."""
        options, dataset, history = self.options, self.dataset, self.trainer.history
        test = evaluate_finite(self.trainer, dataset.x_test, dataset.y_test, "after the last step")
        return {
            "model": options.model,
            "backend": tinycnn.get_backend().name,
            "dataset": dataset.name,
            "data_source": dataset.source,
            "seed": options.seed,
            "options": self.plain_options(),
            "versions": versions(),
            "ranks": self.ranks.size,
            **self.counts(),
            "epochs": [dataclasses.asdict(result) for result in history],
            "test_accuracy": test.accuracy,
            "test_loss": test.loss,
            "stopped_early": stopped_early(history, options.epochs, options.early_stopping),
            "best": best_epoch(self.best, history, dataset) if self.best else None,
            "training_s": self.training_s,
            "compile_s": self.compile_s,
        }

    def write(self, metrics: dict[str, Any]) -> None:
        """Write the results, and say what they are."""
        if metrics["stopped_early"]:
            self.say(f"stopped   early {metrics['stopped_early']}")
        written = write_results(self.output, self.model, self.trainer.history, metrics, self.best)
        if not self.options.checkpoint_every:
            self.checkpoints.clear()
        elif not self.best:
            self.checkpoints.best.unlink(missing_ok=True)  # of a run that began here and never ended
        tell(result_line(metrics))
        if metrics["best"]:
            epoch, accuracy = metrics["best"]["epoch"], metrics["best"]["test_accuracy"]
            tell(f"best      epoch {epoch}, test accuracy {accuracy:.4f}: {self.output / BEST_FILE}")
        written += ["checkpoints"] * (self.options.checkpoint_every is not None)
        self.say(f"written   {', '.join(written)} in {self.output}")

    def draw(self, metrics: dict[str, Any]) -> None:
        """Write the pictures; whatever goes wrong here is told and nothing more: the results are written already."""
        try:
            from tinycnn import report  # loads Matplotlib

            drawn = report.draw(self.output, self.model, self.dataset, metrics)
        except Exception as error:
            print(f"pictures  could not be drawn ({error}); results and model are not affected", file=sys.stderr)
            return
        for failure in drawn.failures:
            print(f"pictures  not drawn: {failure}", file=sys.stderr)
        self.say(f"pictures  {len(drawn.files)} files in {drawn.seconds:.1f} s: open {self.output / 'report.html'}")


def checkpoints_in(output: Path, options: argparse.Namespace) -> Checkpoints:
    """Those of the run in ``output``; raises SettingError when there is nothing left to resume."""
    checkpoints = Checkpoints(output / "checkpoints", every=options.checkpoint_every, resume=options.resume)

    def check_unfinished() -> None:
        if options.resume and (output / "metrics.json").exists() and not checkpoints.paths():
            raise SettingError(
                f"--resume: the run in {output} is finished; train anew without --resume, or give another --output"
            )

    on_rank_0(check_unfinished)
    return checkpoints


def stopping_line(stopped: TrainingStopped) -> str:
    """Where the run stopped, and the very command that goes on from there."""
    command = get_communicator().launcher + [word for word in sys.orig_argv if word != "--resume"]
    saved = f"saved to {stopped.checkpoint}" if stopped.checkpoint else "this state could not be saved"
    return f"\n{stopped}; {saved}. To go on:\n  {shlex.join([*command, '--resume'])}"


def result_line(metrics: dict[str, Any]) -> str:
    where = f"on all {metrics['test_images']:,} {metrics['dataset']} test images"
    where += " (after the last epoch)" if metrics["options"]["save_best"] else ""
    return f"test      accuracy {metrics['test_accuracy']:.4f}, loss {metrics['test_loss']:.4f} {where}"


def main(arguments: list[str] | None = None) -> int:
    try:
        if "--distributed" in (sys.argv[1:] if arguments is None else arguments):
            distributed.start()  # before anything is said: from now on only one of the processes is heard
        code, failure = run(parse(__doc__.split("\n")[0], arguments)), ""
    except KeyboardInterrupt:
        code, failure = 130, "interrupted"
    except (TinyCNNError, OSError, MemoryError) as error:  # OSError: a full disk; MemoryError: data that is too large
        code, failure = 2, f"error: {in_words(error)}"
    return get_communicator().finish(code, failure)


if __name__ == "__main__":
    sys.exit(main())
