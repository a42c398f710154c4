"""Whether training images are drawings, cut out and centred as in MNIST, or whole pictures.

A new picture has to be prepared as the training images were, and arrays do not say how that was. MNIST's digits, and
drawings that `tinycnn.data.drawing` has prepared, are light on an empty background; their longer side fills 20 of 28
pixels, and their centre of mass is in the middle. Whole pictures rarely have all of this, and if they do, the
preparation as a drawing changes them little.
"""

import numpy as np

from tinycnn.data.drawing import BOX, FULL, IN_THE_BOX
from tinycnn.data.stored import Images

SAMPLE = 100  # images, spread over all of them
MOST_OF = 0.9  # of these
OFF = 2.5  # pixels of 28 by which size and place may differ


def are_drawings(images: Images) -> bool:
    """Whether most of ``images (M, H, W, 1)``, bytes or floats, are light drawings in the size and place of MNIST's.

    A sample is looked at, which takes a millisecond.
    """
    count = len(images)
    step = max(1, count // SAMPLE)
    sample = np.asarray(images[0 : step * SAMPLE : step])[:SAMPLE, :, :, 0].astype(np.float64)  # (S, H, W)
    low, high = sample.min(), sample.max()
    return bool(high > low and np.mean([_is_drawing((one - low) / (high - low)) for one in sample]) >= MOST_OF)


def _is_drawing(ink: np.ndarray) -> bool:
    """Whether ``ink (H, W)``, 0 to 1, has the size and the place that `centred` gives a drawing."""
    marked = ink > IN_THE_BOX
    if not marked.any():
        return False
    full = np.array(ink.shape)
    places = [np.flatnonzero(marked.any(axis)) for axis in (1, 0)]
    size = np.array([place[-1] - place[0] + 1 for place in places]) / full * FULL
    centre = np.array([np.arange(n) @ mass / ink.sum() for n, mass in zip(full, (ink.sum(1), ink.sum(0)), strict=True)])
    off_centre = np.abs(centre - (full - 1) / 2) / full * FULL
    return bool(abs(size.max() - BOX) <= OFF and off_centre.max() <= OFF)
