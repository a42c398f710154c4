"""Pictures of data, training and networks: one function per picture, from arrays to a ``matplotlib.figure.Figure``.

    from tinycnn import plots

    plots.save(plots.confusion(counts, class_names), "confusion_matrix.png")

Figures are created without pyplot, so there is no global state and no display is needed. The colours are those of Okabe
and Ito, which can be distinguished with any kind of colour vision. Blue is positive and right, orange negative and
wrong; right and wrong also differ in symbols and lines.
"""

from typing import TYPE_CHECKING, Any

from tinycnn.other_names.modules import missing_name
from tinycnn.plots.figure import save, to_png
from tinycnn.plots.graph import graph_dot, graph_mermaid, graph_svg
from tinycnn.plots.images import augmented, first_images, misclassified, predictions, single_prediction
from tinycnn.plots.network import feature_maps, filters, histograms, saliency_comparison, saliency_maps
from tinycnn.plots.runs import compared_runs, rate_sweep
from tinycnn.plots.scores import class_distribution, confusion, curves, precision_recall

__all__ = [
    "augmented",
    "class_distribution",
    "compared_runs",
    "confusion",
    "curves",
    "feature_maps",
    "filters",
    "first_images",
    "graph_dot",
    "graph_mermaid",
    "graph_svg",
    "histograms",
    "misclassified",
    "precision_recall",
    "predictions",
    "rate_sweep",
    "saliency_comparison",
    "saliency_maps",
    "save",
    "single_prediction",
    "to_png",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name, __all__)
