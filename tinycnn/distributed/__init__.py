"""How several processes reach each other: MPI between machines, NCCL between GPUs. ``ranks.py`` says what it is for.

    mpiexec -n 4 python examples/train_mnist.py --distributed

``start()`` makes this process one of the ranks; the training loop does the rest.
"""

from tinycnn.distributed.agreement import check_agreement
from tinycnn.distributed.gradients import add_up
from tinycnn.distributed.launch import start

__all__ = ["add_up", "check_agreement", "start"]
