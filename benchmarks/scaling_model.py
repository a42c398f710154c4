"""What more machines than there are would bring: a model, and no measurement. ``docs/distributed.md`` explains it."""

from typing import Any

NETWORKS = {"10 Gbit/s Ethernet": (30e-6, 1.1e9), "100 Gbit/s InfiniBand": (2e-6, 11e9)}  # s a message takes, bytes/s
RANKS = (2, 4, 8, 16)


def speedup(ranks: int, measured: dict[str, Any], waiting_ms: float, network: str) -> float:
    """How many times faster than one machine ``ranks`` of them are.

    ``measured`` is a step of parts of a batch on one machine, as ``scaling.py`` has it under ``parts``; ``waiting_ms``
    what two ranks spend on a step's sums where no network is between them.
    """
    parts_ms = {int(size): ms for size, ms in measured["step_ms"].items()}
    whole = max(parts_ms)
    step_ms = parts_ms[whole // ranks] + waiting_ms + network_ms(ranks, measured, *NETWORKS[network])
    return parts_ms[whole] / step_ms


def network_ms(ranks: int, measured: dict[str, Any], latency: float, bandwidth: float) -> float:
    """What the network adds to a step: messages one after the other, and the bytes that a rank sends."""
    sums = 1 + 2 * measured["norms"]  # the gradients; each batch normalisation, there and back
    sent = 2 * (ranks - 1) / ranks * 4 * measured["parameters"]
    return 1e3 * (sums * 4 * (ranks - 1) * latency + sent / bandwidth)
