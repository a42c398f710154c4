"""What to do with images that have another shape than the network takes."""

import math

Shape = tuple[int, ...]


def shape_message(shape: Shape, wanted: Shape) -> str:
    """What is wrong with an array of ``shape (M, ...)`` for a network that takes ``wanted``, and how to change it."""
    for dropped, index in (((), "images[None]"), ((1,), "images[None, ..., None]")):
        if (*shape, *dropped) == wanted:
            return f"images have shape {shape}, which is one image without the axis of the batch: pass {index}."
    change = _change(shape[1:], wanted)
    return f"images have shape {shape[1:]}: the network takes {wanted}{f', so {change}' if change else ''}."


def _change(shape: Shape, wanted: Shape) -> str:
    """How images of ``shape`` become images of the shape ``wanted``; "" if that is not clear."""
    if (*shape, 1) == wanted:
        return "add the channel with images[..., None]"
    if shape == (math.prod(wanted),):
        return f"pass images.reshape{(-1, *wanted)}"
    if len(wanted) != 3:
        return ""
    size, channels = wanted[:2], wanted[2]
    if shape == (channels, *size):
        return "put the channels last: images.transpose(0, 2, 3, 1), of a PyTorch tensor images.permute(0, 2, 3, 1)"
    if channels == 3 and shape in (size, (*size, 1)):
        grey = "images[..., None]" if shape == size else "images"
        return f"repeat the grey channel: np.repeat({grey}, 3, axis=-1)"
    if channels == 1 and shape == (*size, 3):
        return "make them grey: images.mean(axis=-1, keepdims=True).astype(images.dtype)"
    if channels == 3 and shape == (*size, 4):
        return "leave out the transparency: images[..., :3]"
    if len(shape) == 3 and shape[2] == channels:
        return f"scale them to {size[0]}x{size[1]} pixels, or create the network with `input_shape={shape}`"
    return ""
