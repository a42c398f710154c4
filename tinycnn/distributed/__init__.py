"""Several processes that train one network together: MPI between machines, NCCL between GPUs.

    mpiexec -n 4 python my_training.py

``start()`` makes this process one of the ranks; the training loop does the rest. ``communicator.py`` defines what a
rank is. Importing this package loads neither MPI nor the launcher.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinycnn.distributed.launch import start

__all__ = ["start"]


def __getattr__(name: str) -> Any:
    """Import the launcher when ``start`` is first used (PEP 562)."""
    if name != "start":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tinycnn.distributed.launch import start

    return start
