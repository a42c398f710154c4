"""An ONNX file, such as PyTorch and Keras write, as a model file; compared with ONNX Runtime before it is called done.

The network takes images channels last, (N, H, W, C), whatever the file takes. What was done to pixels in front of the
network is not in the file: say it with --scale and --offset, as in --scale 0.0127 --offset -0.424 for PyTorch's
Normalize(0.1307, 0.3081) of pixels from 0 to 1; without them, pixels come as 0 to 1. Needs the packages of: pip install
'tinycnn[onnx]'. Exit codes: 0 compared and written, 2 a mistake (nothing is written).
"""

import argparse
from pathlib import Path

from tinycnn.errors import SettingError
from tinycnn.saving.model_file import check_finite

ALLOWED = 1e-4  # of the largest output, or of 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """From where to where."""
    add = parser.add_argument
    add("onnx", metavar="FILE", type=Path, help="the ONNX file")
    add("--model", metavar="MODEL_FILE", type=Path, required=True, help="the file to write, model.safetensors")
    add("--scale", type=float, metavar="X", help="what byte pixels were multiplied by in front of the network")
    add("--offset", type=float, default=0.0, metavar="X", help="what was added then (default: 0)")
    add("--class-names", nargs="+", metavar="NAME", help="what the answers mean (default: what a file of tinycnn says)")


def run(options: argparse.Namespace) -> None:
    """Make the network, compare, write."""
    import tinycnn
    from tinycnn.interchange.onnx.importer import import_onnx, largest_difference

    if options.offset and options.scale is None:
        raise SettingError("--offset needs --scale: bytes times scale plus offset")
    imported = import_onnx(options.onnx, scale=options.scale, offset=options.offset)
    check_finite(imported.model, options.onnx)
    if options.class_names:
        imported.model.class_names = options.class_names
    difference = largest_difference(imported, options.onnx)
    if not difference <= ALLOWED:
        raise SettingError(f"import: ONNX Runtime computes something else (up to {difference:.1g}); not written")
    tinycnn.save(imported.model, options.model)
    print(imported.model.summary())
    print(f"{options.model}: tinycnn answers as ONNX Runtime does with {options.onnx}, up to {difference:.1e}")
