"""The walk through a trace as one HTML file: page, numbers, source lines and equations, without a server.

The file works offline. Its numbers are the bytes of the trace, compressed without loss. What needs the engine is
computed when the file is written: finite differences for some numbers of each array, and a few steps of two optimizers.
"""

import base64
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.errors import SettingError
from tinycnn.explain import Nudge, Trace, TracedLayer, nudges, practise, saliency_methods, trace_step
from tinycnn.explain.sources import source_of
from tinycnn.layers import Sequential
from tinycnn.version import __version__
from tinycnn.web.equations import mathml
from tinycnn.web.formulas import FORMULAS

STATIC = Path(__file__).parent / "static"
MOST_NUMBERS = 2_000_000  # of a trace: 8 MB in float32; the largest of the published networks has 1.5 million
MOST_CLASSES = 100
LOSS = "tinycnn.ops.softmax_cross_entropy.SoftmaxCrossEntropyFunction"
CHECKED = 60  # numbers that are checked, of all arrays together; at least two of each
KEEP_MAPS = {
    *("Add", "AvgPool2d", "BatchNorm", "Dropout", "Identity", "LeakyReLU", "MaxPool2d", "Multiply", "ReLU"),
    *("Rescaling", "Residual", "Sigmoid", "Tanh"),
}  # kinds of layers whose output has a map for each map of the input; those of walk.js that do not add up channels
MOST_MOVED = 10  # numbers of all parameters, whose way through the steps the file holds
OPTIMIZERS, RATES, STEPS = ("sgd", "adam"), (0.0001, 0.001, 0.01, 0.1), 11
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'"


def traced(model: Sequential, image: np.ndarray, label: int, *, training: bool = False) -> Trace:
    """``trace_step``, for a network that the walk can show.

    Raises SettingError for one that is too large, and for one whose loss is not finite.
    """
    classes = model.output_shape[-1]
    if classes > MOST_CLASSES:
        raise SettingError(f"the walk shows at most {MOST_CLASSES} classes, this network has {classes}")
    check_size(2 * model.parameter_count())
    trace = trace_step(model, image, label, training=training)
    check_size(trace.size())
    check_finite([trace.loss])
    return trace


def check_size(count: int) -> None:
    """Raise SettingError for a trace of ``count`` numbers if these are more than the walk shows."""
    if count > MOST_NUMBERS:
        raise SettingError(
            f"the trace of this network has {count:,} numbers or more, and the walk shows at most {MOST_NUMBERS:,}: "
            "use a smaller network, or smaller images"
        )


def check_finite(losses: Sequence[float]) -> None:
    """Raise SettingError unless all ``losses`` are finite: JSON has no other numbers."""
    if not np.isfinite(losses).all():
        raise SettingError(
            "the loss of this network for this picture is not finite, so there is nothing to walk through: its weights "
            "are too large, or the learning rate is"
        )


def walk_html(model: Sequential, image: np.ndarray, label: int, *, training: bool = False, chapters: str = "") -> str:
    """The walk of one step on the byte image ``(H, W, C)`` as the text of an HTML file.

    ``chapters``: the address of the chapters of ``docs/path`` as pages, with ``*`` for their name, for links to them.
    Raises SettingError for a network that is too large, and the errors of ``trace_step``.
    """
    trace = traced(model, image, label, training=training)
    checked = checks(model, image, trace)
    extras = {
        **descriptions(trace),
        "checks": checked,
        "practice": list(practice(model, image, trace, checked)),
        "saliency": {name: _base64(array) for name, array in saliency_methods(model, image).items()},
        "chapters": chapters,
    }
    return page(trace, extras)


def descriptions(*traces: Trace) -> dict[str, Any]:
    """What the page shows besides the numbers of these traces: lines of the source, and equations as MathML."""
    layers = [layer for trace in traces for layer in trace.layers]
    calls = sorted({LOSS, *(call for layer in layers for call in layer.calls)})
    formulas = {
        kind: FORMULAS[kind] for kind in sorted({"loss", *(layer.kind for layer in layers)}) if kind in FORMULAS
    }
    return {
        "version": __version__,
        "sources": {call: _source(call) for call in calls},
        "formulas": {kind: {name: _lines(one) for name, one in own.items()} for kind, own in formulas.items()},
    }


def _lines(formula: str) -> str:
    """An equation, or several, one on each line."""
    return "".join(map(mathml, formula.split("\n")))


def _source(call: str) -> dict[str, Any]:
    source = source_of(call)
    equations = {left: mathml(equation) for left, equation in source.equations.items()}
    return {
        "file": source.file,
        "start": source.start,
        "lines": source.lines,
        "marks": source.marks,
        "equations": equations,
        "called": {name: vars(one) for name, one in source.called.items()},
    }


def checks(model: Sequential, image: np.ndarray, trace: Trace) -> list[dict[str, Any]]:
    """Finite differences for some numbers of the picture and of each parameter, as the page shows them."""
    arrays = {"input": trace.layers[0].grad_x}
    arrays |= {f"{layer.name}.{name}": grad for layer in trace.layers for name, grad in layer.grad_parameters.items()}
    places = [(name, index) for name, grad in arrays.items() for index in telling(grad, max(2, CHECKED // len(arrays)))]
    for number, layer in enumerate(trace.layers):
        places += [(f"{layer.name}.weight", index) for index in shown_first(trace, number)]
    places = list(dict.fromkeys(places))
    return [as_json(found) for found in nudges(model, image, trace.label, places, training=trace.training)]


def shown_first(trace: Trace, number: int) -> list[tuple[int, ...]]:
    """All places of the filter of layer ``number``, in one channel, that the page shows first."""
    layer = trace.layers[number]
    gradient = layer.grad_parameters.get("weight")
    if gradient is None or gradient.ndim != 4:
        return []
    KH, KW, C, F = gradient.shape
    channel = first_map(trace, number) if layer.x.shape[-1] == C else 0  # another number: a grouped convolution
    filter_ = first_map(trace, number + 1) if layer.y.shape[-1] == F else 0
    return [(kh, kw, channel, filter_) for kh, kw in np.ndindex(KH, KW)]


def first_map(trace: Trace, point: int) -> int:
    """The map that the page chooses at first after ``point`` layers, on both ways, as ``firstMap`` of walk.js does.

    It is that of the weight with the largest gradient; without weights, that of the largest value times gradient.
    """
    while point and keeps_maps(trace.layers[point - 1]):
        point -= 1
    layer = trace.layers[max(0, point - 1)]
    values, grad = (layer.y, layer.grad_y) if point else (layer.x, layer.grad_x)  # (H, W, C)
    weight = layer.grad_parameters.get("weight") if point else None
    sizes = values.astype(np.float64) * grad
    if weight is not None and weight.shape[-1] == values.shape[-1]:
        sizes = weight
    return int(np.abs(sizes).argmax() % values.shape[-1])


def keeps_maps(layer: TracedLayer) -> bool:
    """Whether each map of the output is made from the map of the input with the same number."""
    return layer.kind in KEEP_MAPS and layer.x.shape[2:] == layer.y.shape[2:]


def telling(gradient: np.ndarray, count: int) -> list[tuple[int, ...]]:
    """``count`` indices of an array: half of them of the largest gradients, the others drawn."""
    largest = np.argsort(-np.abs(gradient), axis=None, kind="stable")[: -(-count // 2)]
    drawn = np.random.default_rng(0).choice(gradient.size, size=min(gradient.size, count // 2), replace=False)
    positions = dict.fromkeys([*largest.tolist(), *drawn.tolist()])
    return [tuple(int(i) for i in np.unravel_index(position, gradient.shape)) for position in positions]


def as_json(found: Nudge) -> dict[str, Any]:
    """A check as values for JSON."""
    numbers = ("name", "index", "value", "eps", "loss", "loss_minus", "loss_plus", "gradient", "numeric", "at_kink")
    return {number: getattr(found, number) for number in numbers}


def practice(
    model: Sequential, image: np.ndarray, trace: Trace, checked: Sequence[dict[str, Any]] = ()
) -> Iterator[dict[str, Any]]:
    """A few steps on this image for each choice of the page, and how they move the steepest weights.

    ``checked``: the checks of the page. "checked" holds, in their order, the number after the first and after the
    last step; an empty list for a pixel, which no step moves. A rate with which the loss does not stay finite is left
    out.
    """
    for optimizer in OPTIMIZERS:
        for lr in RATES:
            chosen = {"optimizer": optimizer, "lr": lr, "training": trace.training}
            whole = practise(model, image, trace.label, steps=STEPS, **chosen)  # type: ignore[arg-type]
            if not np.isfinite(whole.losses).all():
                continue
            after = practise(model, image, trace.label, steps=1, **chosen).trace  # type: ignore[arg-type]
            moved = list(moves(trace, after, whole.trace))
            later = [parameters_of(after), parameters_of(whole.trace)]
            own = [[float(p[one["name"]][one["index"]]) for p in later if one["name"] in p] for one in checked]
            rows = {
                "losses": whole.losses,
                "probabilities": whole.probabilities.tolist(),
                "moved": moved,
                "checked": own,
            }
            yield {"optimizer": optimizer, "lr": lr, **rows}


def parameters_of(trace: Trace) -> dict[str, np.ndarray]:
    """Every parameter array by its name in the trace, such as ``conv2d_1.weight``."""
    return {f"{layer.name}.{name}": array for layer in trace.layers for name, array in layer.parameters.items()}


def moves(before: Trace, after: Trace, last: Trace) -> Iterator[dict[str, Any]]:
    """The numbers with the largest gradients in all parameters, the largest first: before, the gradient, and two later.

    ``after`` is the trace after the first step, ``last`` that after all steps.
    """
    found = []
    for i, layer in enumerate(before.layers):
        for name, grad in layer.grad_parameters.items():
            for position in np.argsort(-np.abs(grad), axis=None, kind="stable")[:MOST_MOVED].tolist():
                index = tuple(int(i) for i in np.unravel_index(position, grad.shape))
                found.append((abs(float(grad[index])), i, name, index))
    for _, i, name, index in sorted(found, key=lambda one: -one[0])[:MOST_MOVED]:
        old, new, end = (trace.layers[i] for trace in (before, after, last))
        numbers = {"before": old.parameters[name], "gradient": old.grad_parameters[name]}
        numbers |= {"after": new.parameters[name], "last": end.parameters[name]}
        yield {
            "name": f"{old.name}.{name}",
            "index": index,
            **{what: float(array[index]) for what, array in numbers.items()},
        }


def page(trace: Trace, extras: dict[str, Any]) -> str:
    """The HTML file: the page with its styles and scripts inside, and the data."""
    html = (STATIC / "walk.html").read_text(encoding="utf-8")
    for name in ("colours.css", "walk.css"):
        html = _replaced(html, f'<link rel="stylesheet" href="{name}">', f"<style>\n{_static(name)}</style>")
    scripts = "".join(f"<script>\n{_static(name)}</script>\n" for name in ("sums.js", "walk.js"))
    for name in ("sums.js", "drawing.js", "requests.js", "walk.js", "remote.js"):
        html = _replaced(html, f'  <script src="{name}" defer></script>\n', "")
    compressed = base64.b64encode(zlib.compress(trace.to_bytes(), 9)).decode()
    data = f'<script id="trace-data" type="text/plain">{compressed}</script>\n'
    data += f'<script id="trace-extras" type="application/json">{_json(extras)}</script>\n'
    html = _replaced(
        html,
        '<meta charset="utf-8">',
        f'<meta charset="utf-8">\n  <meta http-equiv="Content-Security-Policy" content="{POLICY}">',
    )
    return _replaced(html, "</body>", f"{data}{scripts}</body>")


def _replaced(html: str, old: str, new: str) -> str:
    if html.count(old) != 1:
        raise AssertionError(f"walk.html does not have {old!r} exactly once")
    return html.replace(old, new)


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    """JSON that can stand inside of a script element, whatever the texts in it."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, np.float32).tobytes()).decode()
