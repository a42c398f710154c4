"""Step 12: the package's own core. The names are the same, and so are the numbers.

    python docs/path/steps/step12_tinycnn.py

    here                                   in the package
    Tensor, Function, unbroadcast          tinycnn/tensor.py: Tensor, Function, unbroadcast
    Dense, ReLU, SoftmaxCrossEntropy       tinycnn/ops/dense.py, relu.py, softmax_cross_entropy.py
    im2col, col2im                         tinycnn/backends/numpy_backend.py
    Conv2d, MaxPool2d                      tinycnn/ops/conv2d.py, max_pool2d.py
    Adam                                   tinycnn/optim/sgd_and_adam.py
    largest_error                          tinycnn/gradcheck.py

What the package has besides: any stride and padding, rules for ties, NaN and infinity, errors in sentences, memory that
is freed while backward runs, and a backend behind each array operation. With NumPy, the gradients are those of step 10;
with ``tinycnn.use_backend("numba")`` or ``"cupy"`` the same code runs compiled on all cores or on a GPU.
"""

import sys
import time

import numpy as np
from step10_mnist import network as own_network
from step10_mnist import start
from step11_faster import gradients

import tinycnn
from tinycnn import Tensor, data, layers, ops, optim, train
from tinycnn.train.warm_up import warm_up


def network(images, learned):
    """Byte images (N, 28, 28, 1) → 10 logits, from the operations of the package."""
    filters1, bias1, filters2, bias2, weight, bias = learned
    x = Tensor(images / 255)
    x = ops.max_pool2d(ops.relu(ops.conv2d(x, filters1, bias1)), kernel_size=2)  # (N, 13, 13, 8)
    x = ops.max_pool2d(ops.relu(ops.conv2d(x, filters2, bias2)), kernel_size=2)  # (N, 5, 5, 16)
    return ops.dense(x.reshape(len(images), -1), weight, bias)  # (N, 10)


def package_gradients(images, labels):
    """The loss and the gradient of every weight: the weights of step 10, the operations of the package."""
    with tinycnn.use_backend("numpy"):
        learned = [Tensor(tensor.data, requires_grad=True) for tensor in start()]
        loss = ops.softmax_cross_entropy(network(images, learned), labels)
        loss.backward()
    return [loss.numpy(), *(tensor.grad for tensor in learned)]


def largest_difference(images, labels):
    """Between the two lists of gradients."""
    pairs = zip(gradients(own_network, images, labels), package_gradients(images, labels), strict=True)
    return max(abs(one - np.asarray(other)).max() for one, other in pairs)


def main(limit=None):
    """The same gradients; then one epoch on the fastest backend of this machine, written with layers."""
    mnist = data.load("auto")
    difference = largest_difference(mnist.x_train[:64], mnist.y_train[:64])
    print("the same gradients as in step 10:", difference < 1e-12)  # the same gradients as in step 10: True
    parts = [layers.Conv2d(8), layers.ReLU(), layers.MaxPool2d(), layers.Conv2d(16), layers.ReLU(), layers.MaxPool2d()]
    model = tinycnn.Sequential(*parts, layers.Flatten(), layers.Dense(10), input_shape=mnist.input_shape)
    trainer = train.Trainer(model, optim.Adam(model.parameters(), lr=2e-3), batch_size=64)
    print("compiling kernels: up to a minute on the first run, then they are read from the disk", flush=True)
    compile_s = warm_up(trainer, mnist.x_train, mnist.y_train)
    began = time.perf_counter()
    epochs = max(1, 300 * 64 // len(mnist.y_train[:limit]))
    trainer.fit(mnist.x_train[:limit], mnist.y_train[:limit], epochs=epochs)
    seconds, backend = time.perf_counter() - began, tinycnn.get_backend().name
    steps = trainer.optimizer.step_count
    print(f"{steps} steps in {seconds:.1f} s on the backend {backend}, after {compile_s:.1f} s for its kernels")
    reached = train.evaluate(model, mnist.x_test, mnist.y_test).accuracy
    print(f"{reached:.1%} of {len(mnist.y_test):,} test images are read correctly ({mnist.name})")
    return reached


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
