"""Which pixels mattered: five ways to ask, from cheap and noisy to slow and honest.

All return one number per pixel ``(H, W, C)``, or per place ``(H, W)``, in units of the score of one class before
softmax. They differ in the question, and so in what a positive and a negative number mean (``COLOURS``):

    saliency           which way would the score move if this pixel became a little brighter?
    input × gradient   how much does this pixel, as bright as it is, contribute to a linear model of the network?
    SmoothGrad         the mean of the first over noisy copies of the image, without the noise of single kinks
    Grad-CAM           which places of the last feature maps raised the score?
    occlusion          how much does the score fall when a patch around the pixel is covered? No gradient, so slow.
"""

from collections.abc import Callable
from functools import partial
from numbers import Integral

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.errors import SettingError, ShapeError, in_range, shortened, whole_number
from tinycnn.explain.inputs import as_input, before_softmax, checked_images, evaluating, plain_logits
from tinycnn.layers import Sequential
from tinycnn.tensor import Tensor, no_grad


def saliency(model: Sequential, image: np.ndarray, label: int | None = None) -> np.ndarray:
    """d(score of ``label``) / d(pixel) for one byte image, ``(H, W, C)`` → ``(H, W, C)``.

    ``label`` None: the predicted class. Positive: a brighter pixel raises the score; negative: it lowers the score. The
    score is the one before softmax; the pixel is measured in units of the network's input. Source: Simonyan, Vedaldi,
    Zisserman, "Deep inside convolutional networks", 2013. Raises SettingError unless ``label`` is one of the classes.
    """
    image = checked_images(model, image)
    with evaluating(model):
        return _gradients(model, as_input(model, image[np.newaxis]), label, "saliency")[0].copy()  # (H, W, C)


def input_times_gradient(model: Sequential, image: np.ndarray, label: int | None = None) -> np.ndarray:
    """The gradient of ``saliency`` times the pixel: dark pixels, which add nothing, get 0; ``(H, W, C)`` → same.

    With ReLU, max-pooling and no biases, the sum over all pixels is the score itself. Source: Shrikumar et al., "Not
    just a black box", 2016.
    """
    image = checked_images(model, image)
    with evaluating(model):
        x = as_input(model, image[np.newaxis])
        return get_backend().to_host(x.data)[0] * _gradients(model, x, label, "input_times_gradient")[0]


def smooth_grad(
    model: Sequential, image: np.ndarray, label: int | None = None, *, samples: int = 32, noise: float = 0.15
) -> np.ndarray:
    """The mean of ``saliency`` over ``samples`` copies of the image with normal noise, ``(H, W, C)`` → ``(H, W, C)``.

    ``noise``: its standard deviation as a fraction of the range of the image. The noise is the same in every call.
    Source: Smilkov et al., "SmoothGrad", 2017.
    """
    image, samples = checked_images(model, image), whole_number("smooth_grad: samples", samples, at_least=1)
    noise = in_range("smooth_grad: noise", noise, at_least=0)
    if samples > MOST_SAMPLES:
        raise SettingError(f"smooth_grad: `samples={samples}`: expected at most {MOST_SAMPLES:,}")
    with evaluating(model):
        x = as_input(model, image[np.newaxis]).numpy()
        label = predicted(model, x) if label is None else label
        spread = noise * float(x.max() - x.min())
        noisy = x + np.random.default_rng(0).normal(0, spread, (samples, *x.shape[1:]))  # (samples, H, W, C)
        copies = Tensor(get_backend().asarray(noisy.astype(x.dtype)))
        return _gradients(model, copies, label, "smooth_grad").mean(axis=0, dtype=np.float64).astype(x.dtype)


def grad_cam(model: Sequential, image: np.ndarray, label: int | None = None, *, layer: str | None = None) -> np.ndarray:
    """Where the maps of ``layer`` raised the score, enlarged to the size of the image: ``(H, W, C)`` → ``(H, W)``.

    Each map is weighted by the mean of its gradient; only a positive sum counts, so there are no negative numbers.
    ``layer`` None: the last one whose output is an image of at least 3x3 pixels. Raises SettingError for another
    layer. Source: Selvaraju et al., "Grad-CAM", 2017.
    """
    image = checked_images(model, image)
    layer = map_layer(model) if layer is None else layer
    if layer not in map_layers(model):
        known = ", ".join(map_layers(model)) or "none in this network"
        raise SettingError(f"grad_cam: layer {shortened(layer)}: expected one whose output is an image: {known}")
    with evaluating(model):
        x, maps = as_input(model, image[np.newaxis]), Tensor([])
        for name, one in before_softmax(model).items():
            x = one(x)
            if name == layer:
                x = maps = x.detach()  # the rest of the network, as a function of these maps
                maps.requires_grad = True
        gradient = _gradient_of(maps, x, label, "grad_cam")[0]  # (OH, OW, F)
        cam = np.maximum((maps.numpy()[0] * gradient.mean(axis=(0, 1))).sum(axis=2), 0)  # (OH, OW)
    return enlarged(cam, image.shape[:2])


def occlusion(
    model: Sequential,
    image: np.ndarray,
    label: int | None = None,
    *,
    patch: int = 5,
    paper: float = 0,
    stride: int = 1,
) -> np.ndarray:
    """How far the score falls when a square of ``patch`` pixels around each place is ``paper``: ``(H, W)``.

    The honest check of the others: it needs no derivative, but one prediction per place whose patch is not all paper.
    ``stride`` covers every so many pixels only, and fills in between. Source: Zeiler, Fergus, "Visualizing and
    understanding convolutional networks", 2014.
    """
    image, patch = checked_images(model, image), whole_number("occlusion: patch", patch, at_least=1)
    stride, paper = (
        whole_number("occlusion: stride", stride, at_least=1),
        in_range("occlusion: paper", paper, at_least=0, at_most=255),
    )
    if image.shape != model.input_shape or image.ndim != 3:
        raise ShapeError(f"occlusion: the image has shape {image.shape}, the network takes {model.input_shape}")
    H, W = image.shape[:2]
    patch, stride = min(patch, 2 * max(H, W)), min(stride, max(H, W))  # which cover everything, and go past the end
    rows, columns = (np.unique(np.linspace(0, n - 1, -(-(n - 1) // stride) + 1).round().astype(int)) for n in (H, W))
    patches = [(_side(h, patch), _side(w, patch)) for h in rows for w in columns]
    changing = [n for n, where in enumerate(patches) if (image[where] != paper).any()]  # the others cover only paper
    with evaluating(model), no_grad():
        whole = model.logits(as_input(model, image[np.newaxis])).numpy()[0]  # (K,)
        label = checked_label("occlusion", int(whole.argmax()) if label is None else label, len(whole))
        falls = np.zeros(len(patches), whole.dtype)
        for start in range(0, len(changing), COVERED):
            part = changing[start : start + COVERED]
            covered = np.repeat(image[np.newaxis], len(part), axis=0)  # (N, H, W, C)
            for one, n in zip(covered, part, strict=True):
                one[patches[n]] = paper
            falls[part] = whole[label] - model.logits(as_input(model, covered)).numpy()[:, label]
    falls = falls.reshape(len(rows), len(columns))
    return falls if stride == 1 else enlarged(falls, (H, W))  # (H, W)


def _side(middle: int, patch: int) -> slice:
    """The rows, or columns, of a patch; its part outside the image is cut off."""
    first = middle - patch // 2
    return slice(max(0, first), max(0, first + patch))


MOST_SAMPLES = 1000  # they are computed at once
COVERED = 64  # copies of the image, each with a patch, that are read at once: more take memory, but gain nothing
METHODS: dict[str, Callable[..., np.ndarray]] = {
    "gradient": saliency,
    "input × gradient": input_times_gradient,
    "SmoothGrad": smooth_grad,
    "Grad-CAM": grad_cam,
    "occlusion": occlusion,
}
COLOURS = {  # of the maps: blue is positive, orange negative
    "gradient": "blue where a brighter pixel would raise the score, orange where a darker one would",
    "input × gradient": "blue where the pixel, as bright as it is, raises the score, orange where it lowers the score",
    "SmoothGrad": "blue where a brighter pixel would raise the score, orange where a darker one would, both as a mean "
    "over noisy copies",
    "Grad-CAM": "blue where the maps of the last convolutions raise the score; nothing is shown against it",
    "occlusion": "blue where a black patch over the place lowers the score, orange where it raises the score",
}


def saliency_methods(
    model: Sequential, image: np.ndarray, label: int | None = None, *, stride: int = 1
) -> dict[str, np.ndarray]:
    """Every method by name, each as one number per place ``(H, W)``; the channels of a gradient are summed.

    Grad-CAM is left out where no layer has maps. ``stride``: of the occlusion, which takes the most time.
    """
    methods = {name: method for name, method in METHODS.items() if name != "Grad-CAM" or map_layers(model)}
    methods["occlusion"] = partial(occlusion, stride=stride)
    maps = {name: method(model, image, label) for name, method in methods.items()}
    return {name: each.sum(axis=2) if each.ndim == 3 else each for name, each in maps.items()}


def map_layers(model: Sequential) -> list[str]:
    """The names of the layers before the scores whose output is an image."""
    return [name for name, layer in before_softmax(model).items() if len(layer.output_shape) == 3]


def map_layer(model: Sequential) -> str:
    """The layer for Grad-CAM: the last with maps of at least 3x3 pixels, else the last with maps, else ``''``."""
    names = map_layers(model)
    large = [name for name in names if min(model.layers[name].output_shape[:2]) >= 3]
    return (large or names or [""])[-1]


def predicted(model: Sequential, x: np.ndarray) -> int:
    """The class with the highest score for the input ``x (1, H, W, C)``."""
    with no_grad():
        return int(plain_logits(model, Tensor(get_backend().asarray(x))).numpy()[0].argmax())


def enlarged(small: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``small (h, w)`` → ``(H, W)``, bilinear, its corners on the corners of the image."""
    for axis, size in enumerate(shape):
        length = small.shape[axis]
        where = np.linspace(0, length - 1, size)
        low = np.minimum(where.astype(int), max(length - 2, 0))
        high, share = np.minimum(low + 1, length - 1), where - low
        share = share.reshape((-1, 1) if axis == 0 else (1, -1))
        small = (1 - share) * small.take(low, axis) + share * small.take(high, axis)
    return small


def checked_label(whose: str, label: int, classes: int) -> int:
    """``label`` as an int; raises SettingError unless it is one of the classes."""
    if not isinstance(label, Integral) or isinstance(label, bool) or not 0 <= label < classes:
        raise SettingError(f"{whose}: label {shortened(label)}, expected 0 to {classes - 1}")
    return int(label)


def _gradients(model: Sequential, x: Tensor, label: int | None, whose: str) -> np.ndarray:
    """d(score of ``label``) / d(pixel) of each image of the input ``x (N, H, W, C)``, on the host."""
    x.requires_grad = True
    return _gradient_of(x, plain_logits(model, x), label, whose)  # (N, H, W, C)


def _gradient_of(x: Tensor, scores: Tensor, label: int | None, whose: str) -> np.ndarray:
    """d(score of ``label``) / d(x) on the host; ``label`` None: the class with the highest score of the first row."""
    classes = scores.shape[1]
    label = checked_label(whose, int(scores.numpy()[0].argmax()) if label is None else label, classes)
    scores.backward(np.repeat(np.eye(classes, dtype=scores.dtype)[[label]], len(scores.numpy()), axis=0))
    return get_backend().to_host(x.grad)
