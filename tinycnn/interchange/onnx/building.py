"""From planned layers to a network: every layer is created, and gets its arrays under its name in the network."""

from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError
from tinycnn.interchange.onnx.patterns import Power
from tinycnn.interchange.planned import Affine, Part, PlannedLayer
from tinycnn.layers import (
    Add,
    BatchNorm,
    Identity,
    Layer,
    Multiply,
    Normalization,
    Rescaling,
    Residual,
    Sequential,
    Shape,
)

EPS = 1e-3  # of a batch norm that only multiplies and adds


def built(planned: tuple[PlannedLayer, ...], *, input_shape: Shape, dtype: Any) -> Sequential:
    """The network of these layers, with their arrays as weights."""
    made: dict[Layer, PlannedLayer] = {}
    planned = with_normalization(planned)
    layers = [created(layer, made) for layer in planned]
    state = {
        f"{name}.{own}": array
        for name, layer in Sequential(*layers).all_layers()
        if layer in made
        for own, array in made[layer].arrays.items()
    }
    return Sequential(*layers, input_shape=input_shape, dtype=dtype, state=state)


def with_normalization(planned: tuple[PlannedLayer, ...]) -> tuple[PlannedLayer, ...]:
    """``planned``, where a factor and a term for every channel of the input become a Normalization."""
    first = next((i for i, layer in enumerate(planned) if layer.kind is not Rescaling), None)
    if first is None or planned[first].kind is not Affine or not (planned[first].arrays["gamma"] > 0).all():
        return planned
    gamma, beta = (planned[first].arrays[name].astype(np.float64) for name in ("gamma", "beta"))
    settings = {"mean": tuple((-beta / gamma).tolist()), "std": tuple((1 / gamma).tolist())}
    return *planned[:first], PlannedLayer(Normalization, settings), *planned[first + 1 :]


def batch_norm(affine: PlannedLayer) -> PlannedLayer:
    """A BatchNorm that only multiplies and adds: exporters write one like that."""
    gamma = affine.arrays["gamma"]
    statistics = {"running_mean": np.zeros_like(gamma), "running_var": np.full_like(gamma, 1 - EPS)}
    return PlannedLayer(BatchNorm, {"eps": EPS}, affine.arrays | statistics)


def created(planned: PlannedLayer, made: dict[Layer, PlannedLayer]) -> Layer:
    """The layer of ``planned``, with those of its branches; ``made`` gets an entry for each."""
    if planned.kind is Affine:
        planned = batch_norm(planned)
    if planned.kind is Power:
        return Multiply(*(Identity() for _ in range(planned.settings["exponent"])))
    if issubclass(planned.kind, Part):
        raise FileFormatError(
            f"{planned.node}: tinycnn reads this operator only as a part of {planned.kind.whole}, which it is not here"
        )
    branches = [[created(layer, made) for layer in branch] for branch in planned.branches]
    if planned.kind is Add and len(branches) == 2 and [] in branches:
        layer: Layer = Residual(*max(branches, key=len)) if branches != [[], []] else Add(Identity(), Identity())
    elif planned.branches:
        layer = planned.kind(*(branch or [Identity()] for branch in branches))
    else:
        bias = {"bias": "bias" in planned.arrays} if planned.is_linear else {}
        layer = planned.kind(**planned.settings, **bias)
    made[layer] = planned
    return layer
