"""What to say where a convolution was given the channels of its input first, as PyTorch takes them."""

import logging
from typing import Any

LOGGER = logging.getLogger("tinycnn.layers")
_noted: set[str] = set()


def hint_if_channels_first(layer: Any, channels: int) -> str:
    """The end of an error about a window that is larger than the image; "" if the filters are not the channels."""
    if vars(layer).get("filters") != channels:
        return ""
    return f"; {channels} is the number of filters here: nn.Conv2d(1, 32, 3) is Conv2d(32, 3)"


def log_if_channels_first(layer: Any, channels: int) -> None:
    """Log a sentence, once, about ``Conv2d(3, 8)`` on 3 channels: as many filters, and a large window of even size.

    Windows of even size are rare without a stride, and rarer where the number of channels stays the same.
    """
    settings = vars(layer)
    filters = settings.get("filters")
    if filters != channels or settings.get("stride") != (1, 1) or settings.get("groups", 1) != 1:
        return
    height, width = settings["kernel_size"]
    if height != width or height < 4 or height % 2:
        return
    kind = type(layer).__name__
    words = (
        f"note: {kind}({filters}, {height}) has {filters} filter{'s' * (filters != 1)} of {height}x{height} pixels, "
        f"and infers the channels of its input; for {height} filters, write {kind}({height}, 3)"
    )
    if words not in _noted:
        _noted.add(words)
        LOGGER.warning("%s", words)
