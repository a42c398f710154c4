"""What more machines than there are would bring: a model, and no measurement. ``docs/distributed.md`` explains it."""

from typing import Any

NETWORKS = {"10 Gbit/s Ethernet": (30e-6, 1.1e9), "100 Gbit/s InfiniBand": (2e-6, 11e9)}  # s a message takes, bytes/s
RANKS = (2, 4, 8, 16)


def speedup(ranks: int, measured: dict[str, Any], waiting_ms: float, network: str) -> float:
    """How many times faster than one machine ``ranks`` of them are.

    ``measured`` is a step of parts of a batch on one machine, as ``scaling.py`` has it under ``parts``; ``waiting_ms``
    what two ranks spend on a step's sums where no network is between them.
    """
    latency, bandwidth = NETWORKS[network]
    parts_ms = {int(size): ms for size, ms in measured["step_ms"].items()}
    whole = max(parts_ms)
    sums = 1 + 2 * measured["norms"]  # the gradients; each batch normalisation, there and back
    network_s = sums * 4 * (ranks - 1) * latency + 2 * (ranks - 1) / ranks * 4 * measured["parameters"] / bandwidth
    return parts_ms[whole] / (parts_ms[whole // ranks] + waiting_ms + 1e3 * network_s)
