"""The same numbers as PyTorch in float64: networks, single ops with all their settings, and optimizers."""

import numpy as np
import pytest

from tinycnn import Tensor, layers, models, ops, optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install 'tinycnn[bench]'`")
F = torch.nn.functional
CLOSE = {"rtol": 1e-9, "atol": 1e-9}
BATCH = 3


def channels_first(x):
    """Images ``(N, H, W, C)`` → a torch tensor ``(N, C, H, W)`` that requires a gradient."""
    return torch.tensor(np.moveaxis(x, 3, 1).copy(), requires_grad=True)


def channels_last(array):
    """A torch gradient or value ``(N, C, H, W)`` → ``(N, H, W, C)``; other shapes are not changed."""
    array = array.detach().numpy()
    return np.moveaxis(array, 1, 3) if array.ndim == 4 else array


def weight_to_torch(weight):
    """Convolution ``(KH, KW, C, F)`` → ``(F, C, KH, KW)``, dense ``(in, out)`` → ``(out, in)``."""
    return weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else weight.T


def weight_from_torch(weight):
    return weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T


# ----------------------------------------------------------------------------------------------------------- networks


class TorchTwin:
    """A ``Sequential`` run by torch's functions on copies of its parameters.

    Images stay channels first until ``Flatten``, where they are flattened in our order, channels last. That is the same
    as permuting the rows of the dense layer behind it, and leaves its gradient in our order.
    """

    def __init__(self, model):
        self.model = model
        self.tensors = {}
        for name, values in model.state_dict().items():
            values = weight_to_torch(values) if name.endswith("weight") else values
            self.tensors[name] = torch.tensor(values.copy(), requires_grad="running" not in name)

    def logits(self, x, masks):
        for name, layer in self.model.layers.items():
            x = self.run(name, layer, x, masks)
        return x

    def run(self, name, layer, x, masks):
        own = {parameter: self.tensors[f"{name}.{parameter}"] for parameter in layer.parameters_by_name}
        match layer:
            case layers.Conv2d():
                return F.conv2d(x, **own, stride=layer.stride, padding=layer.padding)
            case layers.Dense():
                return F.linear(x, **own)
            case layers.MaxPool2d():
                return F.max_pool2d(x, layer.kernel_size, layer.stride, layer.padding)
            case layers.ReLU():
                return F.relu(x)
            case layers.Flatten():
                return x.permute(0, 2, 3, 1).flatten(1)  # in the order (H, W, C)
            case layers.Rescaling():
                return x * layer.scale + layer.offset
            case layers.Dropout():
                return x * torch.tensor(masks[name]) if name in masks else x
            case layers.BatchNorm():
                mean, var = (self.tensors[f"{name}.running_{which}"] for which in ("mean", "var"))
                weight, bias = own["gamma"], own["beta"]
                return F.batch_norm(x, mean, var, weight, bias, layer.training, layer.momentum, layer.eps)
            case layers.GlobalAvgPool2d(keepdims=False):
                return x.mean((2, 3))
            case layers.Softmax() | layers.LogSoftmax():
                return x  # logits end before it
        raise AssertionError(f"no torch twin for {layer}")

    def gradient(self, name):
        gradient = self.tensors[name].grad.numpy()
        return weight_from_torch(gradient) if name.endswith("weight") else gradient


def run_both(name, training):
    """Our model and its PyTorch twin after ``backward()``, and the images of both."""
    model = models.create(name, dtype=np.float64, seed=3)
    rng = np.random.default_rng(0)
    state = model.state_dict()
    for key, values in state.items():
        if not key.endswith("weight"):
            values += rng.uniform(0, 0.5, size=values.shape)  # biases of zero would hide mistakes
    model.load_state_dict(state)
    model.train(training)
    twin = TorchTwin(model)
    x = rng.uniform(0, 1 / layers.pixel_scale(model) / 255, (BATCH, *model.input_shape))
    labels = np.array([3, 0, 9])

    ours = Tensor(x, requires_grad=True)
    logits = model.logits(ours)
    loss = ops.softmax_cross_entropy(logits, labels)
    loss.backward()

    theirs = channels_first(x)
    their_logits = twin.logits(theirs, dropout_masks(model) if training else {})
    their_loss = F.cross_entropy(their_logits, torch.tensor(labels))
    their_loss.backward()
    np.testing.assert_allclose(logits.numpy(), their_logits.detach().numpy(), **CLOSE)
    assert loss.item() == pytest.approx(their_loss.item(), rel=1e-9)
    return model, twin, ours, theirs


def dropout_masks(model):
    """The masks that the dropout layers of ``model`` have just used."""
    shapes = {name: (BATCH, *layer.output_shape) for name, layer in model.layers.items()}
    return {
        name: ops.dropout(Tensor(np.ones(shapes[name])), p=layer.p, key=(layer.seed, layer.step)).numpy()
        for name, layer in model.layers.items()
        if isinstance(layer, layers.Dropout)
    }


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", models.NETWORKS)
def test_networks(backend, name, training):
    model, twin, ours, theirs = run_both(name, training)
    np.testing.assert_allclose(backend.to_host(ours.grad), channels_last(theirs.grad), **CLOSE)
    for key, parameter in model.named_parameters():
        np.testing.assert_allclose(backend.to_host(parameter.grad), twin.gradient(key), **CLOSE, err_msg=key)


def test_running_statistics():
    """The means agree; PyTorch's running variance is unbiased, ours biased (as in Keras), apart by M / (M - 1)."""
    rng = np.random.default_rng(0)
    x, norm = rng.normal(3, 2, (4, 5, 6, 2)), torch.nn.BatchNorm2d(2, eps=1e-3, momentum=0.1, dtype=torch.float64)
    norm(channels_first(x))
    mean, var = np.zeros(2), np.ones(2)
    ops.batch_norm(Tensor(x), Tensor(np.ones(2)), Tensor(np.zeros(2)), running_mean=mean, running_var=var)
    np.testing.assert_allclose(mean, norm.running_mean.numpy(), **CLOSE)
    M = 4 * 5 * 6
    np.testing.assert_allclose((var - 0.9) * M / (M - 1), norm.running_var.numpy() - 0.9, **CLOSE)


# -------------------------------------------------------------------------------------------------------- single ops


def assert_same_op(ours, theirs, arrays):
    """Values, and gradients of all inputs for a random upstream gradient; 4-D arrays are images, except ``weight``."""
    rng = np.random.default_rng(1)
    tensors = {name: Tensor(array, requires_grad=True) for name, array in arrays.items()}
    twins = {
        name: torch.tensor(weight_to_torch(array).copy(), requires_grad=True)
        if name == "weight"
        else channels_first(array)
        if array.ndim == 4
        else torch.tensor(array, requires_grad=True)
        for name, array in arrays.items()
    }
    y, their_y = ours(*tensors.values()), theirs(*twins.values())
    np.testing.assert_allclose(y.numpy(), channels_last(their_y), **CLOSE)
    upstream = rng.normal(size=y.shape)
    y.backward(upstream)
    their_y.backward(torch.tensor(np.moveaxis(upstream, 3, 1).copy() if upstream.ndim == 4 else upstream))
    for name, tensor in tensors.items():
        gradient = twins[name].grad
        wanted = weight_from_torch(gradient.numpy()) if name == "weight" else channels_last(gradient)
        np.testing.assert_allclose(tensor.grad, wanted, **CLOSE, err_msg=name)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 1)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3), (2, 3), (4, 1)])
def test_conv2d(kernel_size, stride, padding, bias):
    arrays = {"x": normal(2, 7, 6, 3), "weight": normal(*kernel_size, 3, 4), "bias": normal(4)}
    if not bias:
        del arrays["bias"]
    settings = {"stride": stride, "padding": padding}
    assert_same_op(lambda *a: ops.conv2d(*a, **settings), lambda *a: F.conv2d(*a, **settings), arrays)


POOLS = [
    {"kernel_size": kernel_size, "stride": stride, "padding": padding}
    for kernel_size in [(2, 2), (3, 3), (3, 2)]
    for stride in [None, (1, 1), (2, 2), (1, 2)]
    for padding in [(0, 0), (1, 1), (1, 0)]
]


@pytest.mark.parametrize("settings", POOLS, ids=str)
@pytest.mark.parametrize("values", ["distinct", "with ties"])
def test_max_pool2d(settings, values):
    x = normal(2, 7, 6, 3)
    x = np.round(x) if values == "with ties" else x  # with ties, PyTorch also selects the first maximum
    assert_same_op(lambda x: ops.max_pool2d(x, **settings), lambda x: F.max_pool2d(x, **settings), {"x": x})


@pytest.mark.parametrize("settings", POOLS, ids=str)
def test_avg_pool2d(settings):
    x = normal(2, 7, 6, 3)
    assert_same_op(lambda x: ops.avg_pool2d(x, **settings), lambda x: F.avg_pool2d(x, **settings), {"x": x})


WHOLE, SMOOTH = np.array([1, 0, 3, 1]), np.full((4, 5), 0.2)
SOME, WEIGHTS = np.random.default_rng(5).uniform(size=(4, 5)), np.array([0.5, 2, 0, 1, 3])
ROWS_OF_5 = SOME / SOME.sum(axis=1, keepdims=True)
ROWS = {
    "relu": (ops.relu, F.relu),
    "softmax": (ops.softmax, lambda x: F.softmax(x, dim=-1)),
    "log_softmax": (ops.log_softmax, lambda x: F.log_softmax(x, dim=-1)),
    "labels": (lambda x: ops.softmax_cross_entropy(x, WHOLE), lambda x: F.cross_entropy(x, torch.tensor(WHOLE))),
    "smooth": (lambda x: ops.softmax_cross_entropy(x, SMOOTH), lambda x: F.cross_entropy(x, torch.tensor(SMOOTH))),
    "nll_loss": (lambda x: ops.nll_loss(x, WHOLE), lambda x: F.nll_loss(x, torch.tensor(WHOLE))),
    "mse_loss": (lambda x: ops.mse_loss(x, SOME), lambda x: F.mse_loss(x, torch.tensor(SOME))),
    "l1_loss": (lambda x: ops.l1_loss(x, SOME), lambda x: F.l1_loss(x, torch.tensor(SOME))),
}
bce = F.binary_cross_entropy_with_logits
for _name, _t, _c in (("labels", SOME.round(), None), ("fractions", SOME, None), ("pos_weight", SOME, WEIGHTS)):
    ROWS[f"bce, {_name}"] = (
        lambda x, t=_t, c=_c: ops.binary_cross_entropy_with_logits(x, t, c),
        lambda x, t=_t, c=_c: bce(x, torch.tensor(t), pos_weight=None if c is None else torch.tensor(c)),
    )
for _labels, _smoothing in ((WHOLE, 0.0), (WHOLE, 0.1), (ROWS_OF_5, 0.0), (ROWS_OF_5, 0.1)):
    ROWS[f"class weights, {_labels.ndim}, {_smoothing}"] = (
        lambda x, t=_labels, s=_smoothing: ops.softmax_cross_entropy(x, t, WEIGHTS, s),
        lambda x, t=_labels, s=_smoothing: F.cross_entropy(
            x, torch.tensor(t), torch.tensor(WEIGHTS), label_smoothing=s
        ),
    )
    ROWS[f"smoothing, {_labels.ndim}, {_smoothing}"] = (
        lambda x, t=_labels, s=_smoothing: ops.softmax_cross_entropy(x, t, label_smoothing=s),
        lambda x, t=_labels, s=_smoothing: F.cross_entropy(x, torch.tensor(t), label_smoothing=s),
    )


@pytest.mark.parametrize(("ours", "theirs"), ROWS.values(), ids=ROWS)
def test_rows(ours, theirs):
    assert_same_op(ours, theirs, {"x": normal(4, 5)})


@pytest.mark.parametrize("shape", [(6, 2), (3, 4, 5, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(shape, training):
    mean, var = np.array([0.5, -1]), np.array([2, 0.3])

    def ours(x, gamma, beta):
        statistics = {"running_mean": mean.copy(), "running_var": var.copy()}
        return ops.batch_norm(x, gamma, beta, **statistics, training=training)

    def theirs(x, gamma, beta):
        return F.batch_norm(x, torch.tensor(mean), torch.tensor(var), gamma, beta, training, 0.1, 1e-3)

    assert_same_op(ours, theirs, {"x": normal(*shape), "gamma": normal(2), "beta": normal(2)})


# -------------------------------------------------------------------------------------------------------- optimizers

OPTIMIZERS = {
    "sgd": (optim.SGD, torch.optim.SGD, {"lr": 0.1}),
    "momentum": (optim.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (optim.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "sgd with decay": (optim.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1}),
    "adam": (optim.Adam, torch.optim.Adam, {"lr": 0.01}),
    "adam with settings": (optim.Adam, torch.optim.Adam, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3}),
    "adam with decay": (optim.Adam, torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.1}),
    "adamw": (optim.AdamW, torch.optim.AdamW, {"lr": 0.01}),
    "adamw with decay": (optim.AdamW, torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.3}),
    "rmsprop": (optim.RMSprop, torch.optim.RMSprop, {"lr": 0.01}),
    "rmsprop with settings": (
        optim.RMSprop,
        torch.optim.RMSprop,
        {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "momentum": 0.8, "weight_decay": 0.1},
    ),
}


@pytest.mark.parametrize(("ours", "theirs", "settings"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizers_over_ten_steps(backend, ours, theirs, settings):
    starts = [normal(3, 4), normal(5, seed=1)]
    parameters = [Tensor(start.copy(), requires_grad=True) for start in starts]
    twins = [torch.tensor(start.copy(), requires_grad=True) for start in starts]
    optimizer, twin_optimizer = ours(parameters, **settings), theirs(twins, **settings)
    for step in range(10):
        for i, (parameter, twin) in enumerate(zip(parameters, twins, strict=True)):
            grad = normal(*parameter.shape, seed=100 * step + i)
            parameter.grad, twin.grad = backend.asarray(grad), torch.tensor(grad)
        optimizer.step()
        twin_optimizer.step()
        for parameter, twin in zip(parameters, twins, strict=True):
            np.testing.assert_allclose(parameter.numpy(), twin.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"nesterov": False, "momentum": 0.8, "weight_decay": 0.1, "rounds": 3}])
def test_muon_over_ten_steps(backend, monkeypatch, settings):
    """PyTorch rounds matrices to bfloat16 first; without that, in float64, both are the same.

    PyTorch's matrices are (out, in), and its momentum is ours times 1 - momentum, which the norm removes.
    """
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())
    shapes = [(3, 4), (5, 2), (3, 2, 2, 20)]
    parameters = [Tensor(normal(*shape, seed=i), requires_grad=True) for i, shape in enumerate(shapes)]
    twins = [torch.tensor(as_torch_matrix(p.numpy()), requires_grad=True) for p in parameters]
    theirs = {"weight_decay": 0.0} | {"ns_steps" if name == "rounds" else name: v for name, v in settings.items()}
    optimizer, twin_optimizer = optim.Muon(parameters, 0.05, **settings), torch.optim.Muon(twins, 0.05, **theirs)
    for step in range(10):
        for i, (parameter, twin) in enumerate(zip(parameters, twins, strict=True)):
            grad = normal(*parameter.shape, seed=100 * step + i)
            parameter.grad, twin.grad = backend.asarray(grad), torch.tensor(as_torch_matrix(grad))
        optimizer.step()
        twin_optimizer.step()
    for parameter, twin in zip(parameters, twins, strict=True):
        np.testing.assert_allclose(as_torch_matrix(parameter.numpy()), twin.detach().numpy(), **CLOSE)


def as_torch_matrix(array):
    """``(in, out)`` or ``(KH, KW, C, F)`` → ``(out, in)``."""
    return array.reshape(-1, array.shape[-1]).T.copy()
