"""Looks inside a network: outputs, the numbers of one step, and which pixels mattered.

    from tinycnn import explain

    trace = explain.trace_step(model, image, label=3)  # activations, gradients, winners, masks, weights, loss
    trace.save("step.safetensors")

All functions compute layer by layer, without fused kernels, so that every output is available; only occlusion, which
needs no more than scores, uses them. They leave the mode, the gradients and the running statistics of the network
unchanged. Results are NumPy arrays on the host.
"""

from typing import TYPE_CHECKING, Any

from tinycnn.explain.activations import activations
from tinycnn.explain.check import Nudge, nudge, nudges
from tinycnn.explain.inputs import as_input, plain_logits
from tinycnn.explain.practice import Practice, practise
from tinycnn.explain.saliency import (
    grad_cam,
    input_times_gradient,
    occlusion,
    saliency,
    saliency_methods,
    smooth_grad,
)
from tinycnn.explain.steps import step_gradients, step_loss
from tinycnn.explain.trace import Trace, TracedLayer, trace_step
from tinycnn.other_names.modules import missing_name

__all__ = [
    "Nudge",
    "Practice",
    "Trace",
    "TracedLayer",
    "activations",
    "as_input",
    "grad_cam",
    "input_times_gradient",
    "nudge",
    "nudges",
    "occlusion",
    "plain_logits",
    "practise",
    "saliency",
    "saliency_methods",
    "smooth_grad",
    "step_gradients",
    "step_loss",
    "trace_step",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name, __all__)
