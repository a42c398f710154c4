"""Before the first step: do all ranks train the same network on the same data? Otherwise their sums mean nothing."""

import json
from typing import Any

from tinycnn.checkpoint import differences
from tinycnn.errors import SettingError
from tinycnn.ranks import Communicator


def check_agreement(ranks: Communicator, ours: dict[str, Any]) -> None:
    """Raise SettingError, on all ranks, unless ``ours``, which describes a run, is the same on all of them."""
    theirs = json.loads(ranks.broadcast(json.dumps(ours).encode()))
    found = differences(theirs, ours, "on rank 0").encode()
    for rank in range(1, ranks.size):
        told = ranks.broadcast(found, rank).decode()
        if told:
            raise SettingError(
                f"rank {rank} has another run than rank 0: {told}. Give all ranks the same command, and every machine "
                "the same data and the same tinycnn"
            )
