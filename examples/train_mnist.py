"""Train one of the networks; ``tinycnn train`` with the same options.

    python examples/train_mnist.py                                    # keras_cnn on MNIST, the fastest backend here
    python examples/train_mnist.py --model lenet --backend numpy --epochs 1
    python examples/train_mnist.py --init-from runs/lenet-mnist/model.safetensors --dataset fashion_mnist

Results go to ``--output`` (default runs/<model>-<dataset>): metrics.json, history.csv, model.safetensors, report.html
and its pictures. Ctrl-C saves a checkpoint there, and the same command with ``--resume`` continues. The run itself is
in ``tinycnn/run/job.py``; ``minimal.py`` is a training loop of your own.
"""

import sys

from tinycnn import commands


def main(arguments: list[str] | None = None) -> int:
    """Train with the options in ``arguments`` (default: those of the command line); returns the exit code."""
    return commands.main(["train", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())
