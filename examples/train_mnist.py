"""Train one of the five networks, show how it goes, and write what came of it.

    python examples/train_mnist.py                                    # keras_cnn on MNIST, the fastest backend there is
    python examples/train_mnist.py --model lenet --backend numpy --epochs 1

Results go to ``--output`` (default runs/<model>-<dataset>): metrics.json, history.csv, model.safetensors, report.html
and the pictures in it. Ctrl-C saves a checkpoint there, and the same command with ``--resume`` goes on.
"""

import argparse
import csv
import dataclasses
import importlib
import io
import json
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinycnn
from tinycnn import data, models, optim
from tinycnn.backends import passed_over, use_tf32
from tinycnn.backends.threads import get_threads, set_threads
from tinycnn.checkpoint import Checkpoints
from tinycnn.console import tell
from tinycnn.data.augment import Affine, Elastic, Fade
from tinycnn.errors import SettingError, TinyCNNError
from tinycnn.history import EpochResult, best, stalled
from tinycnn.io import write_atomically
from tinycnn.keeper import TrainingStopped
from tinycnn.optim import in_range
from tinycnn.progress import progress_display
from tinycnn.run_folder import claimed
from tinycnn.stopping import StopSignals
from tinycnn.train import Trainer, TrainingDivergedError, evaluate, evaluate_finite, warm_up

BEST = "model_best.safetensors"
MOMENTUM = 0.9


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("--model", choices=models.MODELS, default="keras_cnn", help="the network (default: keras_cnn)")
    add("--backend", choices=["auto", "numpy", "numba", "cupy"], default="auto", help="what computes (default: auto)")
    add("--dataset", default="auto", help="auto, mnist, fashion_mnist, digits, or a file PATH.npz (default: auto)")
    add("--data-dir", metavar="DIR", help="folder that holds the data set (default: $TINYCNN_DATA, cache, download)")
    add("--recipe", choices=["author", "best"], default="author", help="defaults for the training (default: author)")
    add("--epochs", type=int, metavar="N", help="passes over the training images (default: as the recipe says)")
    add("--batch-size", type=int, metavar="N", help="images per step (default: as the recipe says)")
    add("--optimizer", choices=optim.OPTIMIZERS, default="adam", help="default: adam")
    add("--lr", type=float, metavar="X", help="learning rate (default: 0.001, for sgd 0.05)")
    add("--momentum", type=float, default=MOMENTUM, metavar="X", help=f"of sgd (default: {MOMENTUM})")
    add("--schedule", choices=optim.SCHEDULES, help="how the rate changes (default: as the recipe says)")
    add("--augment", action=argparse.BooleanOptionalAction, help="shift, turn, stretch and slant the training images")
    add("--elastic", type=float, default=0.0, metavar="X", help="with --augment: bend them by X pixels, too; try 1")
    add("--fade-epochs", type=float, metavar="N", help="let --augment fade from N epochs before the end to one before")
    add("--label-smoothing", type=float, metavar="F", help="share of the target given to all classes, in [0, 1)")
    add("--validation-split", type=float, metavar="F", help="fraction of the training images held out, in [0, 1)")
    add("--clip-norm", type=float, metavar="X", help="shorten the gradient of a step to this length")
    add(
        "--early-stopping",
        type=int,
        metavar="N",
        help=f"stop when N epochs brought no smaller validation loss; keeps {BEST}",
    )
    add("--save-best", action="store_true", help=f"keep the epoch with the smallest validation loss as {BEST}")
    add("--checkpoint-every", type=int, metavar="N", help="save the state of the run every N steps, and each epoch")
    add("--resume", action="store_true", help="go on where the newest checkpoint in the output folder was saved")
    add("--threads", type=int, metavar="N", help="of the numba backend; results do not change (default: all cores)")
    add("--seed", type=int, default=0, metavar="N", help="fixes weights, shuffles and dropout (default: 0)")
    add("--limit", type=int, metavar="N", help="use only the first N training images")
    add("--no-capture", action="store_true", help="on a GPU: run every step from Python, and replay no recording of it")
    add("--tf32", action="store_true", help="on a GPU: matrix products on tensor cores, inputs rounded to 10 bits")
    add("--output", type=folder_name, metavar="DIR", help="folder for the results (default: runs/<model>-<dataset>)")
    add("--no-plots", action="store_true", help="write no pictures and no report.html")
    add("--quiet", action="store_true", help="print only the result")
    return with_defaults(parser.parse_args(arguments))


def folder_name(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("expected the name of a folder, got nothing")
    return Path(text)


def with_defaults(options: argparse.Namespace) -> argparse.Namespace:
    """Fill in what depends on the network or the optimizer, and refuse numbers out of range before anything starts."""
    defaults = dataclasses.asdict(models.MODELS[options.model].recipe(options.recipe))
    if options.optimizer == "sgd":
        defaults["lr"] = 0.05
    longest_fade = 0.0 if options.augment is False else options.epochs or defaults["epochs"]
    defaults["fade_epochs"] = min(defaults["fade_epochs"], longest_fade)
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    for name in ("epochs", "batch_size", "early_stopping", "checkpoint_every"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise SettingError(f"--{name.replace('_', '-')} {value}: expected at least 1")
    if options.seed < 0:
        raise SettingError(f"--seed {options.seed}: expected 0 or more")
    in_range("--lr", options.lr, above=0)
    in_range("--momentum", options.momentum, at_least=0, below=1)
    in_range("--validation-split", options.validation_split, at_least=0, below=1)
    in_range("--elastic", options.elastic, at_least=0, below=100)
    if options.elastic and not options.augment:
        raise SettingError(f"--elastic {options.elastic:g}: expected --augment with it")
    if options.fade_epochs and not (options.augment and 1 <= options.fade_epochs <= options.epochs):
        raise SettingError(f"--fade-epochs {options.fade_epochs:g}: expected --augment with it, and 1 to --epochs")
    in_range("--label-smoothing", options.label_smoothing, at_least=0, below=1)
    if options.clip_norm is not None:
        in_range("--clip-norm", options.clip_norm, above=0)
    options.save_best |= options.early_stopping is not None
    if options.save_best and not options.validation_split:
        raise SettingError("--early-stopping and --save-best need validation images: add --validation-split 0.1")
    if options.threads is not None:
        set_threads(options.threads)
    return options


def augmentation(options: argparse.Namespace) -> Affine | None:
    if not options.augment:
        return None
    return Elastic(bend=options.elastic) if options.elastic else Affine()


def fading(options: argparse.Namespace, steps: int) -> Fade | None:
    if not options.fade_epochs:
        return None
    return Fade.towards_the_end(options.fade_epochs, epochs=options.epochs, steps=steps // options.epochs)


def make_optimizer(options: argparse.Namespace, model: tinycnn.Sequential, steps: int) -> optim.Optimizer:
    extra = {"momentum": options.momentum} if options.optimizer == "sgd" else {}
    schedule = optim.SCHEDULES[options.schedule](steps)
    return optim.OPTIMIZERS[options.optimizer](model.parameters(), options.lr, schedule=schedule, **extra)


def run(options: argparse.Namespace) -> int:
    """Train as ``options`` say, in a folder that is nobody else's meanwhile; answers the exit code."""
    tinycnn.use_backend(options.backend)
    use_tf32(options.tf32)
    dataset = data.load(options.dataset, data_dir=options.data_dir, limit=options.limit)
    with claimed(options.output or Path("runs") / f"{options.model}-{dataset.name}") as output:
        return run_in(output, dataset, options)


def run_in(output: Path, dataset: data.Dataset, options: argparse.Namespace) -> int:
    def say(*words: object) -> None:
        if not options.quiet:
            tell(*words)

    checkpoints = Checkpoints(output / "checkpoints", every=options.checkpoint_every, resume=options.resume)
    if options.resume and (output / "metrics.json").exists() and not checkpoints.paths():
        raise SettingError(
            f"--resume: the run in {output} is finished; train anew without --resume, or give another --output"
        )
    x_train, y_train, x_valid, y_valid = data.split_validation(
        dataset.x_train, dataset.y_train, options.validation_split, seed=options.seed
    )
    model = models.create(
        options.model, seed=options.seed, input_shape=dataset.input_shape, classes=dataset.num_classes
    )
    steps = options.epochs * -(-len(x_train) // options.batch_size)
    trainer = Trainer(
        model,
        make_optimizer(options, model, steps),
        batch_size=options.batch_size,
        seed=options.seed,
        augment=augmentation(options),
        fade=fading(options, steps),
        label_smoothing=options.label_smoothing,
        clip_norm=options.clip_norm,
        capture=not options.no_capture,
    )

    if dataset.notice:
        print(dataset.notice, file=sys.stderr, flush=True)
    counts = f"{len(x_train):,} training, {len(x_valid):,} validation, {len(dataset.x_test):,} test images"
    say(f"data      {dataset.name}: {counts}")
    say(f"          from {dataset.source}")
    computing = ", ".join(f"{name} {version}" for name, version in versions().items())
    say(f"backend   {tinycnn.get_backend().name}, {get_threads()} threads ({computing})")
    for sentence in passed_over(tinycnn.get_backend().name) if options.backend == "auto" else ():
        say(f"          because {sentence}")
    say(f"training  {training_line(options)}")
    for sentence in without_effect(options):
        say(f"          {sentence}")
    say(f"\n{options.model}: {models.MODELS[options.model].description}\n{model.summary()}\n")

    compile_s = warm_up(trainer, x_train, y_train)
    if compile_s > 0.1:
        say(f"compiled  in {compile_s:.1f} s (kept for the next run; not part of the times below)")
    if trainer.why_eager:
        say(f"note      every step is run from Python, which is slower: {trainer.why_eager}")
    start = time.perf_counter()
    with StopSignals() as stop:
        try:
            for result in trainer.fit(
                x_train,
                y_train,
                epochs=options.epochs,
                validation=(x_valid, y_valid),
                early_stopping=options.early_stopping,
                progress=progress_display(options.epochs, quiet=options.quiet),
                checkpoints=checkpoints,
                stop=stop,
            ):
                say(epoch_line(result, options.epochs))
                if options.save_best and result is best(trainer.history):
                    tinycnn.save(model, output / BEST)
        except TrainingStopped as stopped:
            print(stopping_line(stopped), file=sys.stderr)
            return stop.exit_code
        except TrainingDivergedError:
            for path in checkpoints.paths()[:1]:
                print(f"the last good checkpoint is {path}", file=sys.stderr)
            raise
    training_s = time.perf_counter() - start + trainer.spent_s
    test = evaluate_finite(trainer, dataset.x_test, dataset.y_test, "after the last step")

    early = stopped_early(trainer.history, options)
    if early:
        say(f"stopped   early {early}")
    metrics = {
        "model": options.model,
        "backend": tinycnn.get_backend().name,
        "dataset": dataset.name,
        "data_source": dataset.source,
        "seed": options.seed,
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()},
        "versions": versions(),
        "train_images": len(x_train),
        "validation_images": len(x_valid),
        "test_images": len(dataset.x_test),
        "epochs": [dataclasses.asdict(result) for result in trainer.history],
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "stopped_early": early,
        "best": best_epoch(output, trainer, dataset) if options.save_best else None,
        "training_s": training_s,
        "compile_s": compile_s,
    }
    tinycnn.save(model, output / "model.safetensors")
    write_atomically(output / "history.csv", history_csv(trainer.history).encode())
    write_atomically(output / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
    if not options.checkpoint_every:
        checkpoints.clear()
    where = f"on all {len(dataset.x_test):,} {dataset.name} test images"
    where += " (after the last epoch)" if options.save_best else ""
    tell(f"test      accuracy {test.accuracy:.4f}, loss {test.loss:.4f} {where}")
    if metrics["best"]:
        chosen = metrics["best"]
        tell(f"best      epoch {chosen['epoch']}, test accuracy {chosen['test_accuracy']:.4f}: {output / BEST}")
    written = ["history.csv", "metrics.json", "model.safetensors"] + [BEST] * options.save_best
    written += ["checkpoints"] * (options.checkpoint_every is not None)
    say(f"written   {', '.join(written)} in {output}")
    if not options.no_plots:
        draw_pictures(output, model, dataset, metrics, say)
    return 0


def draw_pictures(
    output: Path,
    model: tinycnn.Sequential,
    dataset: data.Dataset,
    metrics: dict[str, Any],
    say: Callable[..., None],
) -> None:
    """Write the pictures; whatever goes wrong here is told and nothing more, for the results are written already."""
    try:
        from tinycnn import report  # loads Matplotlib

        drawn = report.draw(output, model, dataset, metrics)
    except Exception as error:
        print(f"pictures  could not be drawn ({error}); results and model are not affected", file=sys.stderr)
        return
    for failure in drawn.failures:
        print(f"pictures  not drawn: {failure}", file=sys.stderr)
    say(f"pictures  {len(drawn.files)} files in {drawn.seconds:.1f} s: open {output / 'report.html'}")


def best_epoch(output: Path, trainer: Trainer, dataset: data.Dataset) -> dict[str, object]:
    """The epoch with the smallest validation loss, and how well the network saved then reads the test images."""
    epoch = best(trainer.history)
    assert epoch
    test = evaluate(tinycnn.load(output / BEST), dataset.x_test, dataset.y_test)
    scores = {name: getattr(epoch, name) for name in ("epoch", "validation_loss", "validation_accuracy")}
    return scores | {"test_accuracy": test.accuracy, "test_loss": test.loss, "file": BEST}


def stopped_early(history: list[EpochResult], options: argparse.Namespace) -> str | None:
    """When and why ``--early-stopping`` ended the run, in words; None when it did not."""
    chosen = best(history)
    if chosen is None or len(history) == options.epochs or not stalled(history, options.early_stopping):
        return None
    for_how_long = f"for {counted(options.early_stopping, 'epoch')}; best: epoch {chosen.epoch}"
    return f"after epoch {len(history)}: the validation loss has not improved {for_how_long}"


def counted(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)


def stopping_line(stopped: TrainingStopped) -> str:
    """Where the run stopped, and the very command that goes on from there."""
    command = [word for word in sys.orig_argv if word != "--resume"]
    saved = f"saved to {stopped.checkpoint}" if stopped.checkpoint else "this state could not be saved"
    return f"\n{stopped}; {saved}. To go on:\n  {shlex.join([*command, '--resume'])}"


def training_line(options: argparse.Namespace) -> str:
    line = f"{counted(options.epochs, 'epoch')}, batch {options.batch_size}, "
    line += f"{options.optimizer} {options.lr:g} ({options.schedule})"
    line += ", augmented" if options.augment else ""
    line += f", bent by {options.elastic:g} pixels" if options.elastic else ""
    line += f", fading {options.fade_epochs:g} epochs before the end" if options.fade_epochs else ""
    return line + (f", label smoothing {options.label_smoothing:g}" if options.label_smoothing else "")


def without_effect(options: argparse.Namespace) -> list[str]:
    """A sentence for each setting that was given, and that changes nothing in this run."""
    backend = tinycnn.get_backend().name
    sentences = []
    if options.threads is not None and backend != "numba":
        sentences.append(f"--threads is for the numba backend; {backend} does not use it")
    if options.optimizer != "sgd" and options.momentum != MOMENTUM:
        sentences.append(f"--momentum is for sgd; {options.optimizer} does not use it")
    return sentences


def epoch_line(result: EpochResult, epochs: int) -> str:
    line = f"epoch {result.epoch:>{len(str(epochs))}}/{epochs}"
    line += f"  loss {result.train_loss:.4f}  accuracy {result.train_accuracy:.4f}"
    if result.validation_loss is not None:
        line += f"  validation loss {result.validation_loss:.4f}  accuracy {result.validation_accuracy:.4f}"
    return f"{line}  {result.epoch_s:.1f} s  {result.images_per_s:,.0f} images/s"


def history_csv(epochs: list[EpochResult]) -> str:
    """One line per epoch, with a head line; an empty field where there was no validation."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(EpochResult)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(result) for result in epochs)
    return text.getvalue()


def versions() -> dict[str, str]:
    """Of tinycnn, Python, and what computes."""
    backend = tinycnn.get_backend()
    found = {"tinycnn": tinycnn.__version__, "python": platform.python_version(), "numpy": np.__version__}
    if backend.name != "numpy":
        found[backend.name] = importlib.import_module(backend.name).__version__
    return found


def main(arguments: list[str] | None = None) -> int:
    try:
        return run(parse_options(arguments))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except TinyCNNError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, MemoryError) as error:  # a full disk; data that is too large
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
