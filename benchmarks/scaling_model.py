"""A model of the speed-up on several machines, not a measurement; ``docs/distributed.md`` explains it."""

from typing import Any

NETWORKS = {"10 Gbit/s Ethernet": (30e-6, 1.1e9), "100 Gbit/s InfiniBand": (2e-6, 11e9)}  # latency in s, bytes/s
RANKS = (2, 4, 8, 16)


def speedup(ranks: int, measured: dict[str, Any], waiting_ms: float, network: str) -> float:
    """The speed of ``ranks`` machines relative to one.

    ``measured`` is an entry of ``parts`` in the results of ``scaling.py``: step times on one machine for shares of a
    batch. ``waiting_ms`` is the time that two ranks on one machine spend in a step's all-reduces.
    """
    parts_ms = {int(size): ms for size, ms in measured["step_ms"].items()}
    whole = max(parts_ms)
    step_ms = parts_ms[whole // ranks] + waiting_ms + network_ms(ranks, measured, *NETWORKS[network])
    return parts_ms[whole] / step_ms


def network_ms(ranks: int, measured: dict[str, Any], latency: float, bandwidth: float) -> float:
    """Milliseconds that the network adds to a step: the latency of consecutive messages, and the bytes of a rank."""
    sums = 1 + 2 * measured["norms"]  # all-reduces: the gradients; per batch norm, two
    sent = 2 * (ranks - 1) / ranks * 4 * measured["parameters"]
    return 1e3 * (sums * 4 * (ranks - 1) * latency + sent / bandwidth)
