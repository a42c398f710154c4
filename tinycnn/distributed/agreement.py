"""A check before the first step that all ranks train the same network on the same data."""

import json
import re
from typing import Any

from tinycnn.distributed.communicator import Communicator
from tinycnn.errors import SettingError


def check_agreement(ranks: Communicator, ours: dict[str, Any]) -> None:
    """Raise SettingError on all ranks unless ``ours``, a description of the run, is the same on all of them."""
    theirs = json.loads(ranks.broadcast(json.dumps(ours).encode()))
    found = differences(theirs, ours, "on rank 0").encode()
    for rank in range(1, ranks.size):
        reported = ranks.broadcast(found, rank).decode()
        if reported:
            raise SettingError(
                f"rank {rank} and rank 0 have different runs: {reported}. Start all ranks with the same command, the "
                "same data and the same version of tinycnn"
            )


MAX_SHOWN = 40  # characters of a value in an error message
FINGERPRINT = re.compile("[0-9a-f]{16}")  # not shown: the digits of a hash do not help a reader


def differences(theirs: dict[str, Any], ours: dict[str, Any], there: str) -> str:
    """The differences between two descriptions of a run, as text; "" if there are none.

    ``there`` describes where ``theirs`` comes from.
    """
    names = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    return "; ".join(_difference(name, theirs.get(name), ours.get(name), there) for name in names)


def _difference(name: str, theirs: Any, ours: Any, there: str) -> str:
    hashes = FINGERPRINT.fullmatch(str(theirs)) and FINGERPRINT.fullmatch(str(ours))
    if hashes or max(len(str(theirs)), len(str(ours))) > MAX_SHOWN:
        return f"different {name}"
    return f"{name} {theirs} {there}, {ours} here"
