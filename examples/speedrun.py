"""The time to 99 % accuracy on the MNIST test images, starting from fresh weights.

    python examples/speedrun.py                 # one run
    python examples/speedrun.py --seeds 10      # ten runs: how many reach 99 %, and the median time

The clock runs from the first step to the end of the evaluation on all 10,000 test images. Reading the files and
compiling kernels is done before; the time to compile is printed. The network is `keras_cnn`, with a one-cycle schedule
of the learning rate.
"""

import argparse
import statistics
import sys
import time

import tinycnn
from tinycnn import data, models, optim
from tinycnn.backends import use_tf32
from tinycnn.errors import TinyCNNError
from tinycnn.run.option_names import OptionNames
from tinycnn.train import Trainer, evaluate
from tinycnn.train.warm_up import warm_up

GOAL = 0.99
EPOCHS, BATCH_SIZE, PEAK_LR, WARMUP = 2, 128, 3e-3, 0.3


def run(mnist: data.Dataset, seed: int) -> tuple[float, float, float]:
    """Train once: test accuracy, seconds, seconds of compiling."""
    model = models.create("keras_cnn", seed=seed)
    steps = EPOCHS * -(-len(mnist.y_train) // BATCH_SIZE)
    adam = optim.Adam(model.parameters(), PEAK_LR, schedule=optim.one_cycle(steps, warmup=WARMUP))
    trainer = Trainer(model, adam, batch_size=BATCH_SIZE, seed=seed)
    compile_s = warm_up(trainer, mnist.x_train, mnist.y_train)
    start = time.perf_counter()
    trainer.fit(mnist.x_train, mnist.y_train, epochs=EPOCHS)
    accuracy = evaluate(model, mnist.x_test, mnist.y_test).accuracy
    return accuracy, time.perf_counter() - start, compile_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", choices=["auto", "numpy", "numba", "cupy"], default="auto")
    parser.add_argument("--tf32", action="store_true", help="on a GPU: matrix products on tensor cores")
    parser.add_argument("--data-dir", metavar="DIR", help="folder that holds MNIST")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="run with seeds 0 to N-1 (default: 1)")
    options = parser.parse_args()
    try:
        tinycnn.use_backend(options.backend)
        use_tf32(options.tf32)
        mnist = data.load("mnist", data_dir=options.data_dir)
    except TinyCNNError as error:
        print(f"error: {OptionNames(parser)(str(error))}", file=sys.stderr)
        return 2
    results = []
    for seed in range(options.seeds):
        accuracy, seconds, compile_s = run(mnist, seed)
        results.append((accuracy, seconds))
        reached = "reached" if accuracy >= GOAL else "missed"
        print(f"seed {seed}: {accuracy:.4f} in {seconds:.2f} s, {reached} (compiled in {compile_s:.1f} s)", flush=True)
    share = sum(accuracy >= GOAL for accuracy, _ in results)
    median = statistics.median(seconds for _, seconds in results)
    print(f"{share} of {len(results)} seeds reached {GOAL:.0%} of all 10,000 test images; median time {median:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
