"""The optional kernels of the GPU backend, put together from the files beside this one."""

from tinycnn.backends.base import Backend
from tinycnn.backends.cupy.conv import ConvKernels
from tinycnn.backends.cupy.dense import DenseKernels
from tinycnn.backends.cupy.depthwise import DepthwiseKernels
from tinycnn.backends.cupy.launch import Launcher
from tinycnn.backends.cupy.norm import NormKernels
from tinycnn.backends.cupy.step import StepKernels
from tinycnn.backends.fused_kernels import FusedKernels


def fused_kernels(launch: Launcher, backend: Backend) -> FusedKernels:
    """All of them; ``backend`` is the one that they belong to."""
    conv, dense, step = ConvKernels(launch, backend), DenseKernels(launch), StepKernels(launch)
    norm, depthwise = NormKernels(launch, conv), DepthwiseKernels(launch)
    return FusedKernels(
        conv_forward=conv.conv_forward,
        conv_backward=conv.conv_backward,
        norm_forward=norm.norm_forward,
        norm_backward=norm.norm_backward,
        conv_norm_forward=norm.conv_norm_forward,
        conv_norm_backward=norm.conv_norm_backward,
        dense_forward=dense.dense_forward,
        dense_backward=dense.dense_backward,
        depthwise_forward=depthwise.depthwise_forward,
        depthwise_backward=depthwise.depthwise_backward,
        update_statistics=norm.update_statistics,
        dropout=step.dropout,
        softmax_cross_entropy=step.softmax_cross_entropy,
        adam_all=step.adam_all,
        count_correct=step.count_correct,
        end_step=step.end_step,
    )
