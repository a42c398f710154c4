"""Reading ``metrics.json`` back: users may edit it, and a folder may hold a file of another program with this name."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from tinycnn.data.augment import NAMES
from tinycnn.errors import FileFormatError, printable, shortened
from tinycnn.files import open_regular
from tinycnn.train.history import EpochResult

MOST_BYTES = 1 << 26  # 300 bytes per epoch and a few thousand more; this is enough for 200,000 epochs
LARGEST = 1e100  # of a number; larger ones cannot be drawn


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST  # False for NaN


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def _is_fraction(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_augmentation(value: Any) -> bool:
    return value is None or isinstance(value, bool) or (isinstance(value, str) and value in NAMES)


def _or_none(kind: "Kind") -> "Kind":
    return (lambda value: value is None or kind[0](value)), f"{kind[1]} or null"


Kind = tuple[Callable[[Any], bool], str]  # whether a value is of this kind, and the kind in words
TEXT: Kind = _is_text, "a text"
NUMBER: Kind = _is_number, "a number"
COUNT: Kind = _is_count, "a non-negative integer"
FRACTION: Kind = _is_fraction, "a number from 0 to 1"
PIXELS: Kind = (lambda value: _is_number(value) and 0 <= value < 100), "a number from 0, below 100"
FLAG: Kind = (lambda value: isinstance(value, bool)), "true or false"
OBJECT: Kind = (lambda value: isinstance(value, dict)), "an object"
LIST: Kind = (lambda value: isinstance(value, list)), "a list"

RUN = {"model": TEXT, "backend": TEXT, "dataset": TEXT, "data_source": TEXT, "options": OBJECT, "versions": OBJECT}
RUN |= {"epochs": LIST, "test_accuracy": FRACTION, "test_loss": NUMBER, "training_s": NUMBER}
RUN |= {"train_images": COUNT, "validation_images": COUNT, "test_images": COUNT}
LATER_RUN = {"working_folder": TEXT}  # older runs have none
OPTIONS = {"dataset": TEXT, "data_dir": _or_none(TEXT), "limit": _or_none(COUNT)}
LATER_OPTIONS = {"image_size": _or_none(COUNT), "colour": _or_none(FLAG), "elastic": PIXELS}  # older runs have none
LATER_OPTIONS |= {"pixels": _or_none(TEXT)}
LATER_OPTIONS |= {"augment": (_is_augmentation, f"one of {', '.join(NAMES)}, true, false or null")}
EPOCH = {"epoch": COUNT, "train_loss": NUMBER, "train_accuracy": FRACTION, "epoch_s": NUMBER, "images_per_s": NUMBER}
VALIDATION = {"validation_loss": _or_none(NUMBER), "validation_accuracy": _or_none(FRACTION)}
EPOCH |= VALIDATION
LATER_EPOCH = {"learning_rate": _or_none(NUMBER), "metrics": OBJECT}
assert EPOCH.keys() | LATER_EPOCH.keys() == {field.name for field in fields(EpochResult)}


def read_metrics(path: Path) -> dict[str, Any]:
    """The content of ``metrics.json``, in which every value that ``report`` uses has the type that a run writes.

    Raises FileFormatError for a file that is missing, not JSON, or that holds a value of another kind.
    """
    name = printable(os.fspath(path))
    try:
        results = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise FileFormatError(f"{name}: no such file; pass the output folder of a training run") from None
    except OSError as error:
        raise FileFormatError(f"{name}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise FileFormatError(f"{name}: not JSON ({shortened(error)}); it may be damaged, train again") from None
    if not isinstance(results, dict):
        raise FileFormatError(f"{name}: not the metrics of a training run")
    for wrong in _wrong_values(results):
        raise FileFormatError(f"{name}: not the metrics of a training run, or edited: {wrong}")
    known = [*EPOCH, *LATER_EPOCH]
    epochs = [{field: epoch[field] for field in known if field in epoch} for epoch in results["epochs"]]
    return results | {"epochs": epochs}


def read_json(path: Path) -> Any:
    """The content of a JSON file of at most ``MOST_BYTES``; raises OSError, and ValueError for other content."""
    with open_regular(path) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES:,} bytes")
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _wrong_values(results: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with each value that is missing or of another kind."""
    yield from _wrong_in(results, RUN)
    yield from _wrong_in(results, {name: kind for name, kind in LATER_RUN.items() if name in results})
    yield from _wrong_in(results["options"], OPTIONS, "options.")
    later = {name: kind for name, kind in LATER_OPTIONS.items() if name in results["options"]}
    yield from _wrong_in(results["options"], later, "options.")
    yield from _wrong_in(results["versions"], dict.fromkeys(results["versions"], TEXT), "versions.")
    for i, epoch in enumerate(results["epochs"]):
        if not isinstance(epoch, dict):
            yield f"'epochs[{i}]' is {shortened(epoch)}, expected an object"
        kinds = EPOCH | {name: kind for name, kind in LATER_EPOCH.items() if name in epoch}
        yield from _wrong_in(epoch, kinds, f"epochs[{i}].")
        if isinstance(epoch.get("metrics", {}), dict):
            metrics = epoch.get("metrics", {})
            yield from _wrong_in(metrics, dict.fromkeys(metrics, _or_none(NUMBER)), f"epochs[{i}].metrics.")
        if len({values[score] is None for values in (epoch, results["epochs"][0]) for score in VALIDATION}) > 1:
            yield f"'epochs[{i}]' and the first epoch differ in whether they have validation scores"


def _wrong_in(values: Mapping[str, Any], kinds: Mapping[str, Kind], prefix: str = "") -> Iterator[str]:
    for name, (is_right, kind) in kinds.items():
        if name not in values:
            yield f"{shortened(prefix + name)} is missing"
        elif not is_right(values[name]):
            yield f"{shortened(prefix + name)} is {shortened(values[name])}, expected {kind}"
