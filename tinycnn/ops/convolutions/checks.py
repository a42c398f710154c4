"""The shapes and groups that a convolution accepts."""

from numbers import Integral

from tinycnn.errors import SettingError, ShapeError, shortened


def check_conv2d(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], bias_shape: tuple[int, ...] | None, groups: int
) -> None:
    """Raise ShapeError unless the shapes of images, filters and bias are compatible."""
    if len(x_shape) != 4 or len(weight_shape) != 4 or x_shape[3] != weight_shape[2] * groups or 0 in weight_shape:
        per_group = "" if groups == 1 else f" (with `groups={groups}`, weight has C/{groups} in place of C)"
        raise ShapeError(
            f"conv2d: x has shape {x_shape} and weight {weight_shape}, expected x (N, H, W, C) and weight "
            f"(KH, KW, C, F) with the same number of channels C{per_group}; images use the channels-last layout"
        )
    if bias_shape is not None and bias_shape != weight_shape[3:]:
        raise ShapeError(f"conv2d: bias has shape {bias_shape}, expected {weight_shape[3:]}, one number per filter")
    check_groups("conv2d", groups, x_shape[3], weight_shape[3])


def checked_groups(op: str, groups: int) -> int:
    """``groups`` as an int; raises SettingError unless it is a positive integer."""
    if not isinstance(groups, Integral) or isinstance(groups, bool) or groups < 1:
        raise SettingError(f"{op}: `groups={shortened(groups)}`: expected a positive integer")
    return int(groups)


def check_groups(op: str, groups: int, channels: int, filters: int) -> None:
    """Raise ShapeError unless both channels and filters can be divided into ``groups`` equal parts."""
    if channels % groups or filters % groups:
        raise ShapeError(
            f"{op}: `groups={groups}` does not divide both the {channels} channels of the images and the {filters} "
            "filters: use a common divisor"
        )
