"""Write a model file as an ONNX file, after comparing it with ONNX Runtime.

Images stay channels last, (N, H, W, C), with any N; multiply byte pixels by the factor in the metadata of the file.
Requires: pip install 'tinycnn[onnx]'.
Exit codes: 0 compared and written, 2 error (nothing is written).
"""

import argparse
from pathlib import Path

from tinycnn.commands.shared_options import add_model_file, add_model_pixels, check_other_file, state_pixels
from tinycnn.errors import SettingError
from tinycnn.saving.endings import ONNX, check_ending
from tinycnn.saving.model_file import load_finite

ALLOWED = 1e-4  # of the largest output, or of 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the model file and the ONNX file."""
    add_model_file(parser)
    add_model_pixels(parser)
    parser.add_argument("--onnx", metavar="FILE", type=Path, help="the file to write")
    parser.add_argument("file", metavar="FILE", type=Path, nargs="?", help="the same, without --onnx")


def run(options: argparse.Namespace) -> None:
    """Convert in memory, compare, write."""
    from tinycnn.files import write_atomically
    from tinycnn.interchange.onnx.exporter import IR, OPSET, largest_difference, to_onnx

    if (options.onnx is None) == (options.file is None):
        raise SettingError("expected one file to write: tinycnn export MODEL_FILE --onnx FILE")
    options.onnx = options.onnx or options.file
    check_other_file("--onnx", options.onnx, options.model, "model file")
    check_ending(options.onnx, ONNX, "--onnx")
    model = load_finite(options.model)
    state_pixels(options, model)
    content = to_onnx(model)
    difference = largest_difference(model, content)
    if not difference <= ALLOWED:
        raise SettingError(f"export: ONNX Runtime gives different results (up to {difference:.1g}); not written")
    write_atomically(options.onnx, content)
    print(f"{options.onnx}: {len(content):,} bytes, opset {OPSET}, IR {IR}")
    print(f"outputs of ONNX Runtime and tinycnn agree up to {difference:.1e}")
