"""Every public function with wrong arguments, one at a time: nothing but the errors of tinycnn may come out.

The table holds calls that work. In each, one argument after the other is replaced by everything in ``WRONG``; what is
accepted is accepted, and what is refused is refused in a sentence.
"""

from functools import partial

import numpy as np
import pytest

import tinycnn
from tests.train.test_trainer import sides
from tinycnn import Sequential, Tensor, explain, gradcheck, initializers, layers, metrics, models, ops, optim
from tinycnn.data import augment
from tinycnn.errors import TinyCNNError
from tinycnn.train import Trainer, evaluate, predict_logits

rng = np.random.default_rng(0)
LONGEST = 400  # letters of a message


def floats(*shape, dtype=np.float32):
    return rng.uniform(0.1, 1, shape).astype(dtype)


WRONG = [
    None, "text", b"x", -1, 0, 2.5, float("nan"), float("inf"), 10**30, True, (), (1, 2), [], [[1, 2], [3]], {},
    {1: 1}, object(), np.int64(3), np.float32(0.5), np.zeros(0, np.float32), floats(2, 3, dtype="f8"), floats(1, 2, 2),
    np.zeros((1, 2, 2, 2), np.uint8), np.array(["a"]), np.array([None]), Tensor([1.0, 2.0]), 1 + 2j, floats(2, 3) + 1j,
]  # fmt: skip


def network():
    return Sequential(layers.Conv2d(2), layers.ReLU(), layers.Flatten(), layers.Dense(2), input_shape=(8, 8, 1))


MODEL, (IMAGES, LABELS) = network(), sides(4)


def parameter():
    return [Tensor([1.0, 2.0], requires_grad=True)]


def of_tensor(name):
    return lambda **arguments: getattr(Tensor(floats(2, 3, 4), requires_grad=True), name)(**arguments)


def operator(name):
    return lambda other: getattr(Tensor(floats(2, 3, 4)), name)(other)


def layer(kind, **settings):
    """The layer in a network, from its settings."""
    return lambda **changed: Sequential(layers.Flatten(), kind(**settings | changed), input_shape=(8, 8, 1))


def on_images(kind, **settings):
    return lambda **changed: Sequential(kind(**settings | changed), input_shape=(8, 8, 1))


def stepped(gradient=None, **settings):
    parameters = parameter()
    parameters[0].grad = np.ones(2, np.float32) if gradient is None else gradient
    optim.SGD(parameters, 0.1, **settings).step()


def fitted(images, labels, **settings):
    """The first epoch only: a large number of epochs is no mistake."""
    next(iter(Trainer(MODEL, optim.SGD(MODEL.parameters()), batch_size=2).epochs(images, labels, **settings)), None)


def returning(result, place):
    """A function of one's own whose forward or backward returns ``result``."""

    class Odd(tinycnn.Function):
        def forward(self, x):
            return result if place == "forward" else x * 1

        def backward(self, grad_y):
            return result

    Odd()(Tensor([1.0], requires_grad=True)).sum().backward()


LOGITS, PROBS = floats(4, 3), np.full((4, 3), 1 / 3)
ADAM = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0, "schedule": None}
CALLS = {
    "Tensor": (Tensor, {"array": [1.0]}),
    "reshape": (lambda shape: Tensor(floats(2, 3)).reshape(shape), {"shape": (3, 2)}),
    "transpose": (lambda axes: Tensor(floats(2, 3)).transpose(axes), {"axes": (1, 0)}),
    "backward": (lambda grad: (Tensor(floats(2), True) * 2).backward(grad), {"grad": floats(2)}),
    **{name: (of_tensor(name), {"axis": 0, "keepdims": False}) for name in ("sum", "mean", "max")},
    **{f"__{name}__": (operator(f"__{name}__"), {"other": floats(2, 3, 4)}) for name in ("add", "mul", "rsub", "eq")},
    "index": (lambda index: Tensor(floats(2, 3, 4))[index], {"index": 1}),
    **{name: (getattr(ops, name), {"x": floats(2, 3)})
       for name in ("abs", "sqrt", "tanh", "sigmoid", "silu", "softplus", "softsign", "hardswish")},
    "leaky_relu": (ops.leaky_relu, {"x": floats(2, 3), "slope": 0.1}),
    "elu": (ops.elu, {"x": floats(2, 3), "alpha": 0.1}),
    "gelu": (ops.gelu, {"x": floats(2, 3), "approximate": True}),
    "clip": (ops.clip, {"x": floats(2, 3), "low": 0, "high": 6}),
    "maximum": (ops.maximum, {"a": floats(2, 3), "b": floats(3)}),
    "minimum": (ops.minimum, {"a": floats(2, 3), "b": floats(3)}),
    "concatenate": (ops.concatenate, {"inputs": [floats(2, 3), floats(1, 3)], "axis": 0}),
    "stack": (ops.stack, {"inputs": [floats(2, 3), floats(2, 3)], "axis": 0}),
    "pad": (ops.pad, {"x": floats(2, 3), "pads": ((0, 1), (2, 0)), "value": 0.5}),
    "conv_transpose2d": (ops.conv_transpose2d, {
        "x": floats(1, 2, 3, 1), "weight": floats(2, 2, 3, 1), "bias": floats(3), "stride": 2, "padding": 1,
        "output_padding": 1,
    }),
    "upsample2d": (ops.upsample2d, {"x": floats(1, 2, 3, 1), "scale": 2}),
    "layer_norm": (ops.layer_norm, {"x": floats(2, 3), "gamma": floats(3), "beta": floats(3), "eps": 0.1}),
    "group_norm": (ops.group_norm, {"x": floats(2, 4), "gamma": floats(4), "beta": floats(4), "groups": 2, "eps": 0.1}),
    "matmul": (operator("__matmul__"), {"other": floats(2, 4, 3)}),
    "forward": (partial(returning, place="forward"), {"result": np.ones(1, np.float32)}),
    "backward of a function": (partial(returning, place="backward"), {"result": np.ones(1, np.float32)}),
    "model": (lambda x: network()(x), {"x": floats(2, 8, 8, 1)}),
    "Sequential": (
        lambda **given: Sequential(layers.Flatten(), layers.Dense(2), **given),
        {"input_shape": (8, 8, 1), "seed": 0, "dtype": np.float32, "state": None},
    ),
    "layers": (lambda inner: Sequential(inner, input_shape=(8, 8, 1)), {"inner": layers.ReLU()}),
    "Conv2d": (on_images(layers.Conv2d, filters=2), {"filters": 2, "kernel_size": 3, "stride": 1, "padding": 0,
                                                     "bias": True, "initializer": "he_normal"}),
    "Dense": (layer(layers.Dense), {"units": 2, "bias": True, "initializer": "zeros"}),
    "BatchNorm": (on_images(layers.BatchNorm), {"momentum": 0.1, "eps": 1e-3}),
    "Dropout": (on_images(layers.Dropout), {"p": 0.5}),
    "Rescaling": (on_images(layers.Rescaling), {"scale": 1, "offset": 0}),
    "LeakyReLU": (on_images(layers.LeakyReLU), {"slope": 0.1}),
    "ELU": (on_images(layers.ELU), {"alpha": 0.1}),
    "GELU": (on_images(layers.GELU), {"approximate": False}),
    "Clip": (on_images(layers.Clip), {"low": 0, "high": 6}),
    "LayerNorm": (on_images(layers.LayerNorm), {"eps": 0.1}),
    "GroupNorm": (on_images(layers.GroupNorm), {"groups": 1, "eps": 0.1}),
    "Normalization": (on_images(layers.Normalization), {"mean": 0.5, "std": (0.2,)}),
    "Pad2d": (on_images(layers.Pad2d), {"padding": ((1, 0), (2, 1))}),
    "Upsample": (on_images(layers.Upsample), {"scale": 2}),
    "Residual": (lambda **given: Sequential(layers.Residual(layers.ReLU(), **given), input_shape=(4,)),
                 {"shortcut": layers.Dense(4)}),
    "a branch": (lambda branch: Sequential(layers.Add(layers.ReLU(), branch), input_shape=(4,)),
                 {"branch": [layers.Dense(4)]}),
    "MaxPool2d": (on_images(layers.MaxPool2d), {"kernel_size": 2, "stride": 2, "padding": 0}),
    **{f"{kind}(x)": (Sequential(getattr(layers, kind)(), input_shape=(8, 8, 1)).layers[f"{kind.lower()}_1"],
                      {"x": floats(2, 8, 8, 1)}) for kind in ("ReLU", "Flatten", "Softmax", "MaxPool2d", "BatchNorm")},
    "load_state_dict": (lambda **given: network().load_state_dict(**given),
                        {"state": MODEL.state_dict(), "strict": True}),
    "load_counters": (lambda counters: network().load_counters(counters), {"counters": {}}),
    "freeze_only": (lambda name: network().freeze_only(name), {"name": "dense_1"}),
    "with_head": (lambda **given: network().with_head(**given), {"classes": 3, "seed": 0}),
    "class_names": (lambda names: setattr(network(), "class_names", names), {"names": ("a", "b")}),
    "pictures": (lambda text: setattr(network(), "pictures", text), {"text": "whole"}),
    "create": (models.create, {"name": "lenet", "seed": 0, "input_shape": (16, 16, 1), "classes": 2, "dtype": "f8"}),
    "SGD": (optim.SGD, {"parameters": parameter(), "lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 0}),
    "Adam": (optim.Adam, {"parameters": parameter(), **ADAM}),
    "AdamW": (optim.AdamW, {"parameters": parameter(), **ADAM}),
    "step": (stepped, {"gradient": np.ones(2, np.float32)}),
    "rate": (lambda factor: stepped(schedule=lambda step: factor), {"factor": 1.0}),
    "RMSprop": (optim.RMSprop, {"parameters": parameter(), "lr": 0.1, "alpha": 0.9, "eps": 1e-8, "momentum": 0.5,
                                "weight_decay": 0.1, "schedule": None}),
    "Muon": (optim.Muon, {"parameters": parameter(), "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1,
                          "rounds": 5, "others": (), "others_lr": 0.1, "schedule": None}),
    "groups": (lambda one: optim.ParameterGroups(one), {"one": optim.SGD(parameter())}),
    "groups by name": (optim.ParameterGroups.by_name, {"kind": optim.Adam, "model": MODEL,
                                                       "settings": {"*.bias": {"lr": 0.2}}, "lr": 0.1}),
    "learning rate": (lambda lr: setattr(optim.SGD(parameter()), "learning_rate", lr), {"lr": 0.1}),
    "ReduceOnPlateau": (optim.ReduceOnPlateau, {"optimizer": optim.SGD(parameter()), "factor": 0.5, "patience": 3,
                                                "mode": "min", "threshold": 0.1, "lowest": 0}),
    "plateau": (lambda loss: optim.ReduceOnPlateau(optim.SGD(parameter())).step(loss), {"loss": 0.5}),
    "plateau state": (lambda state: optim.ReduceOnPlateau(optim.SGD(parameter())).load_state_dict(state),
                      {"state": {"best": 1.0, "waited": 2}}),
    "WeightAverage": (optim.WeightAverage, {"model": MODEL, "decay": 0.9}),
    "average state": (lambda state: optim.WeightAverage(MODEL).load_state_dict(state),
                      {"state": optim.WeightAverage(MODEL).state_dict()}),
    "linear": (optim.linear, {"total_steps": 9, "warmup": 0.3, "start": 0.1, "end": 0.1}),
    "warm_up": (optim.warm_up, {"schedule": optim.cosine(9), "steps": 3, "start": 0.1}),
    "optimizer state": (lambda state: optim.Adam(parameter()).load_state_dict(state),
                        {"state": optim.Adam(parameter()).state_dict()}),
    "clip_gradients": (optim.clip_gradients, {"parameters": parameter(), "max_norm": 1.0}),
    "gradient_norm": (optim.gradient_norm, {"parameters": parameter()}),
    "step_decay": (optim.step_decay, {"total_steps": 9, "drops": 3, "factor": 0.1}),
    "cosine": (optim.cosine, {"total_steps": 9, "floor": 0.1}),
    "one_cycle": (optim.one_cycle, {"total_steps": 9, "warmup": 0.3, "start": 0.1, "end": 0.1}),
    "gradcheck": (partial(gradcheck, lambda x: x * 2), {"inputs": Tensor(np.ones(1), True), "eps": 1e-6, "atol": 1e-5,
                                                        "rtol": 1e-3, "nondet_tol": 0.0, "fast_mode": False}),
    "gradcheck of": (lambda result: gradcheck(lambda x: result, Tensor(np.ones(1), True)), {"result": Tensor([1.0])}),
    "use_backend": (lambda name: tinycnn.use_backend(name).__exit__(None, None, None), {"name": "numpy"}),
    "register_backend": (lambda name: tinycnn.register_backend(name, None), {"name": 1}),
    **{name: (getattr(initializers, name), {"shape": (2, 3), "rng": rng})
       for name in ("glorot_uniform", "he_normal", "he_uniform", "zeros", "ones")},
    "initializer": (initializers.get, {"name": "zeros"}),
    "probabilities": (metrics.probabilities, {"logits": LOGITS}),
    "confusion_matrix": (metrics.confusion_matrix, {"labels": LABELS, "predicted": LABELS, "classes": 3}),
    "class_scores": (metrics.class_scores, {"confusion": np.eye(3, dtype=int)}),
    "mistakes": (metrics.mistakes, {"labels": LABELS, "probs": PROBS}),
    "activations": (explain.activations, {"model": MODEL, "image": IMAGES[0]}),
    "saliency": (explain.saliency, {"model": MODEL, "image": IMAGES[0], "label": 1}),
    "step_gradients": (partial(explain.step_gradients, labels=LABELS), {"model": MODEL, "images": IMAGES}),
    "trace_step": (explain.trace_step, {"model": MODEL, "image": IMAGES[0], "label": 1, "training": True}),
    "nudge": (explain.nudge, {"model": MODEL, "image": IMAGES[0], "label": 1, "name": "input", "index": (0, 0, 0),
                              "eps": 1e-5, "training": False}),
    "practise": (explain.practise, {"model": MODEL, "image": IMAGES[0], "label": 1, "steps": 1, "optimizer": "sgd",
                                    "lr": 0.1, "training": False}),
    "input_times_gradient": (explain.input_times_gradient, {"model": MODEL, "image": IMAGES[0], "label": 1}),
    "smooth_grad": (explain.smooth_grad, {"model": MODEL, "image": IMAGES[0], "label": 1, "samples": 2, "noise": 0.1}),
    "grad_cam": (explain.grad_cam, {"model": MODEL, "image": IMAGES[0], "label": 1}),
    "occlusion": (explain.occlusion, {"model": MODEL, "image": IMAGES[0], "label": 1, "patch": 3, "paper": 0,
                                      "stride": 2}),
    "Trainer": (Trainer, {"model": MODEL, "optimizer": optim.SGD(MODEL.parameters()), "batch_size": 2, "seed": 0,
                          "augment": None, "fade": None, "label_smoothing": 0.0, "clip_norm": None,
                          "loss": "softmax_cross_entropy", "average_weights": None}),
    "fit": (fitted, {"images": IMAGES, "labels": LABELS, "epochs": 1, "validation": (IMAGES, LABELS),
                     "early_stopping": 1, "sample_weight": None, "validation_weight": None, "progress": None,
                     "checkpoints": None}),
    "trainer state": (lambda state: Trainer(MODEL, optim.SGD(MODEL.parameters()), batch_size=2).load_state_dict(state),
                      {"state": Trainer(MODEL, optim.SGD(MODEL.parameters()), batch_size=2).state_dict()}),
    "evaluate": (evaluate, {"model": MODEL, "images": IMAGES, "labels": LABELS, "loss": "softmax_cross_entropy",
                            "views": "mirror"}),
    "predict_logits": (predict_logits, {"model": MODEL, "images": IMAGES, "views": "shift"}),
    "from_dlpack": (tinycnn.from_dlpack, {"x": np.ones(2)}),
    "save": (lambda model: tinycnn.save(model, "/nowhere/at/all"), {"model": None}),
    "export_onnx": (lambda model: tinycnn.export_onnx(model, "/nowhere/at/all"), {"model": None}),
    "to_onnx": (tinycnn.to_onnx, {"model": MODEL}),
    "load": (tinycnn.load, {"path": "/nowhere/at/all"}),
    "Affine": (augment.Affine, {"shift": 1, "rotation": 1, "scale": 0.1, "shear": 0.1}),
    "Elastic": (augment.Elastic, {"bend": 1}),
    "FlipAndCrop": (augment.FlipAndCrop, {"flip": 0.5, "shift": 1}),
}  # fmt: skip
REFUSED_THEMSELVES = {"register_backend", "save", "load", "export_onnx"}


def complaint(call, arguments):
    """What is wrong with how the call ends; None if it works or is refused in words."""
    try:
        call(**arguments)
    except TinyCNNError as error:
        return f"a message of {len(str(error))} letters" if len(str(error)) > LONGEST else None
    except OSError:
        return None  # a file that is not there
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize("name", CALLS)
@np.errstate(all="ignore")
def test_wrong_arguments_are_refused_in_words(name):
    call, arguments = CALLS[name]
    if name not in REFUSED_THEMSELVES:
        call(**arguments)
    for changed in arguments:
        for wrong in WRONG:
            found = complaint(call, arguments | {changed: wrong})
            assert found is None, f"{name}({changed}={wrong!r}): {found}"


def test_a_bare_error_is_found():
    assert complaint(lambda x: x + 1, {"x": "text"}).startswith("TypeError: can only concatenate")
    assert complaint(lambda x: ops.relu(Tensor(x)), {"x": "text"}) is None
