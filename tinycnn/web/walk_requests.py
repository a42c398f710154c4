"""The bodies of the requests behind the walk: JSON with the picture that the network gets, its true class, and more."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycnn.errors import DataError
from tinycnn.optim import OPTIMIZERS

RATES = (0.0001, 0.001, 0.01, 0.1, 1.0)
MOST_STEPS = 100
FIELDS: dict[str, set[str]] = {
    "trace": set(),
    "check": {"name", "index"},
    "practise": {"optimizer", "lr", "steps"},
    "saliency": set(),
    "file": set(),
}


@dataclass(frozen=True)
class WalkRequest:
    """A checked request: the picture ``(H, W, 1)`` bytes, the true class, the mode, and the fields of its kind."""

    image: np.ndarray
    label: int
    training: bool
    fields: dict[str, Any]


def walk_request(kind: str, body: bytes, shape: tuple[int, int], classes: int) -> WalkRequest:
    """The body of a request of ``kind``, one of FIELDS; raises DataError for anything else."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise DataError(
            'the body is not JSON; expected {"picture": rows, "label": a class, "training": false, …}.'
        ) from None
    wanted = {"picture", "label", "training"} | FIELDS[kind]
    if not isinstance(given, dict) or set(given) != wanted:
        raise DataError(f"expected one object with the keys {', '.join(sorted(wanted))} and no other.")
    label, training = given["label"], given["training"]
    if type(label) is not int or not 0 <= label < classes:
        raise DataError(f'"label": expected a whole number from 0 to {classes - 1}.')
    if type(training) is not bool:
        raise DataError('"training": expected true or false.')
    return WalkRequest(picture_of(given["picture"], shape), label, training, checked_fields(kind, given))


def picture_of(rows: Any, shape: tuple[int, int]) -> np.ndarray:
    """Rows of bytes → ``(H, W, 1)``; raises DataError unless they have exactly the shape of the network's input."""
    H, W = shape
    right = isinstance(rows, list) and len(rows) == H and all(isinstance(row, list) and len(row) == W for row in rows)
    if not right or not all(type(value) is int and 0 <= value <= 255 for row in rows for value in row):
        raise DataError(f'"picture": expected {H} rows of {W} whole numbers from 0 to 255.')
    return np.array(rows, np.uint8)[:, :, np.newaxis]


def checked_fields(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """The fields of ``kind``, checked; the engine itself checks that a name and an index exist."""
    fields = {name: given[name] for name in FIELDS[kind]}
    if kind == "check":
        index = fields["index"]
        if type(fields["name"]) is not str or len(fields["name"]) > 200:
            raise DataError('"name": expected input, or the name of a parameter such as conv2d_1.weight.')
        if not (isinstance(index, list) and len(index) <= 8 and all(type(i) is int for i in index)):
            raise DataError('"index": expected a short list of whole numbers.')
        fields["index"] = tuple(index)
    if kind == "practise":
        if fields["optimizer"] not in list(OPTIMIZERS):
            raise DataError(f'"optimizer": expected one of {", ".join(OPTIMIZERS)}.')
        if type(fields["steps"]) is not int or not 0 <= fields["steps"] <= MOST_STEPS:
            raise DataError(f'"steps": expected a whole number from 0 to {MOST_STEPS}.')
        if type(fields["lr"]) not in (int, float) or not 0 < fields["lr"] <= 10:
            raise DataError('"lr": expected a number above 0, at most 10.')
    return fields
