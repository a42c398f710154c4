"""Train one of the five networks, show how it goes, and write what came of it.

    python examples/train_mnist.py                                    # keras_cnn on MNIST, the fastest backend there is
    python examples/train_mnist.py --model lenet --backend numpy --epochs 1

Results go to ``--output`` (default runs/<model>-<dataset>): metrics.json, history.csv,
model.safetensors, report.html and the pictures in it.
"""

import argparse
import csv
import dataclasses
import importlib
import io
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinycnn
from tinycnn import data, models, optim
from tinycnn.backends import passed_over, use_tf32
from tinycnn.backends.threads import get_threads, set_threads
from tinycnn.data.augment import Affine
from tinycnn.errors import SettingError, TinyCNNError
from tinycnn.io import write_atomically
from tinycnn.optim import in_range
from tinycnn.progress import progress_display
from tinycnn.train import EpochResult, Trainer, evaluate, finite, warm_up


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
    add("--momentum", type=float, default=0.9, metavar="X", help="of sgd (default: 0.9)")
    add("--schedule", choices=optim.SCHEDULES, help="how the rate changes (default: as the recipe says)")
    add("--augment", action=argparse.BooleanOptionalAction, help="shift, turn, stretch and slant the training images")
    add("--label-smoothing", type=float, metavar="F", help="share of the target given to all classes, in [0, 1)")
    add("--validation-split", type=float, metavar="F", help="fraction of the training images held out, in [0, 1)")
    add("--threads", type=int, metavar="N", help="of the numba backend; results do not change (default: all cores)")
    add("--seed", type=int, default=0, metavar="N", help="fixes weights, shuffles and dropout (default: 0)")
    add("--limit", type=int, metavar="N", help="use only the first N training images")
    add("--no-capture", action="store_true", help="on a GPU: run every step from Python, and replay no recording of it")
    add("--tf32", action="store_true", help="on a GPU: matrix products on tensor cores, inputs rounded to 10 bits")
    add("--output", type=Path, metavar="DIR", help="folder for the results (default: runs/<model>-<dataset>)")
    add("--no-plots", action="store_true", help="write no pictures and no report.html")
    add("--quiet", action="store_true", help="print only the result")
    return with_defaults(parser.parse_args(arguments))


def with_defaults(options: argparse.Namespace) -> argparse.Namespace:
    """Fill in what depends on the network or the optimizer, and refuse numbers out of range before anything starts."""
    defaults = dataclasses.asdict(models.MODELS[options.model].recipe(options.recipe))
    if options.optimizer == "sgd":
        defaults["lr"] = 0.05
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    for name in ("epochs", "batch_size"):
        if getattr(options, name) < 1:
            raise SettingError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected at least 1")
    if options.seed < 0:
        raise SettingError(f"--seed {options.seed}: expected 0 or more")
    in_range("--lr", options.lr, above=0)
    in_range("--momentum", options.momentum, at_least=0, below=1)
    in_range("--validation-split", options.validation_split, at_least=0, below=1)
    in_range("--label-smoothing", options.label_smoothing, at_least=0, below=1)
    if options.threads is not None:
        set_threads(options.threads)
    return options


def make_optimizer(options: argparse.Namespace, model: tinycnn.Sequential, steps: int) -> optim.Optimizer:
    extra = {"momentum": options.momentum} if options.optimizer == "sgd" else {}
    schedule = optim.SCHEDULES[options.schedule](steps)
    return optim.OPTIMIZERS[options.optimizer](model.parameters(), options.lr, schedule=schedule, **extra)


def run(options: argparse.Namespace) -> None:
    def say(*words: object) -> None:
        if not options.quiet:
            print(*words, flush=True)

    tinycnn.use_backend(options.backend)
    use_tf32(options.tf32)
    dataset = data.load(options.dataset, data_dir=options.data_dir, limit=options.limit)
    output = checked_output(options, dataset.name)
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
        augment=Affine() if options.augment else None,
        label_smoothing=options.label_smoothing,
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
    say(f"\n{options.model}: {models.MODELS[options.model].description}\n{model.summary()}\n")

    compile_s = warm_up(trainer, x_train, y_train)
    if compile_s > 0.1:
        say(f"compiled  in {compile_s:.1f} s (kept for the next run; not part of the times below)")
    if trainer.why_eager:
        say(f"note      every step is run from Python, which is slower: {trainer.why_eager}")
    epochs, start = [], time.perf_counter()
    progress = progress_display(options.epochs, quiet=options.quiet)
    validation = x_valid, y_valid
    for result in trainer.fit(x_train, y_train, epochs=options.epochs, validation=validation, progress=progress):
        epochs.append(result)
        say(epoch_line(result, options.epochs))
    training_s = time.perf_counter() - start
    test = finite(evaluate(model, dataset.x_test, dataset.y_test), "after the last step", trainer.optimizer)

    output.mkdir(parents=True, exist_ok=True)
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
        "epochs": [dataclasses.asdict(result) for result in epochs],
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "training_s": training_s,
        "compile_s": compile_s,
    }
    tinycnn.save(model, output / "model.safetensors")
    write_atomically(output / "history.csv", history_csv(epochs).encode())
    write_atomically(output / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
    where = f"on all {len(dataset.x_test):,} {dataset.name} test images"
    print(f"test      accuracy {test.accuracy:.4f}, loss {test.loss:.4f} {where}")
    say(f"written   {', '.join(sorted(path.name for path in output.iterdir()))} in {output}")
    if not options.no_plots:
        draw_pictures(output, model, dataset, metrics, say)


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


def checked_output(options: argparse.Namespace, dataset: str) -> Path:
    """The folder for the results; raises SettingError before training when files cannot be written there.

    Creates nothing that stays: a folder is made to see whether it can be, and taken away again.
    """
    output: Path = options.output or Path("runs") / f"{options.model}-{dataset}"
    for path in (output, *output.parents):
        if path.exists() and not path.is_dir():
            raise SettingError(f"--output {output}: {path} is a file; give a folder, or move the file away")
    missing = [path for path in (output, *output.parents) if not path.exists()]
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise SettingError(f"--output {output}: cannot be written ({error.strerror}); give another folder") from None
    finally:
        for path in missing:
            if path.is_dir():
                path.rmdir()
    return output


def training_line(options: argparse.Namespace) -> str:
    line = f"{options.epochs} epochs, batch {options.batch_size}, "
    line += f"{options.optimizer} {options.lr:g} ({options.schedule})"
    line += ", augmented" if options.augment else ""
    return line + (f", label smoothing {options.label_smoothing:g}" if options.label_smoothing else "")


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
        run(parse_options(arguments))
    except TinyCNNError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, MemoryError) as error:  # a full disk; data that is too large
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
