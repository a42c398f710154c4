"""Convert an ONNX file, for example from PyTorch or Keras, to a model file, after comparing it with ONNX Runtime.

The network takes images channels last, (N, H, W, C), whatever layout the file has. The file does not record how pixels
were prepared. --pixels states their range; without it, the range is inferred from the first constants of the network,
and the command prints the range and the reason. --scale and --offset add a preparation that is not in the file, for
example --pixels 0..1 --scale 3.2457 --offset -0.4242 for PyTorch's Normalize(0.1307, 0.3081). Requires: pip install
'tinycnn[onnx]' (in the repository: pip install -e '.[onnx]'). Exit codes:
0 compared and written, 2 error (nothing is written).
"""

import argparse
from pathlib import Path

from tinycnn.commands.shared_options import check_other_file, in_pixels
from tinycnn.errors import SettingError
from tinycnn.layers.pixels import SCALES as PIXELS
from tinycnn.saving.model_file import check_finite, save

ALLOWED = 1e-4  # of the largest output, or of 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the ONNX file, the model file, the pixels and the classes."""
    add = parser.add_argument
    add("onnx", metavar="FILE", type=Path, help="the ONNX file")
    add("--model", metavar="MODEL_FILE", type=Path, required=True, help="the file to write, model.safetensors")
    add("--pixels", choices=PIXELS, help="the pixels that the network takes (default: inferred from its constants)")
    add("--scale", type=float, metavar="X", help="factor of the pixels in front of the network (of bytes by default)")
    add("--offset", type=float, default=0.0, metavar="X", help="added after the factor (default: 0)")
    add("--class-names", nargs="+", metavar="NAME", help="names of the classes (default: from the file)")


def run(options: argparse.Namespace) -> None:
    """Convert, compare, write."""
    from tinycnn.interchange.onnx.importer import import_onnx, largest_difference

    check_other_file("--model", options.model, options.onnx, "ONNX file")
    imported = import_onnx(options.onnx, scale=options.scale, offset=options.offset, pixels=options.pixels)
    check_finite(imported.model, options.onnx)
    if options.class_names:
        imported.model.class_names = options.class_names
    difference = largest_difference(imported, options.onnx)
    if not difference <= ALLOWED:
        raise SettingError(f"import: ONNX Runtime gives different results (up to {difference:.1g}); not written")
    save(imported.model, options.model)
    print(imported.model.summary())
    print(in_pixels(imported.model, options.in_options(imported.reason), "--pixels"))
    print(f"{options.model}: outputs of tinycnn and of ONNX Runtime with {options.onnx} agree up to {difference:.1e}")
