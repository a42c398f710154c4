"""Convert a network of Keras (.keras, .h5) or an ONNX file, for example from PyTorch, to a model file.

The network takes images channels last, (N, H, W, C), whatever layout the file has. The file does not record how pixels
were prepared. --pixels states their range; without it, the range is inferred from the first constants of the network,
and the command prints the range and the reason. --scale and --offset add a preparation that is not in the file, for
example --pixels 0..1 --scale 3.2457 --offset -0.4242 for PyTorch's Normalize(0.1307, 0.3081).

An ONNX file is compared with ONNX Runtime before the model file is written. A file of weights alone (.weights.h5) needs
--into, a network with the same layers. Requires: pip install 'tinycnn[onnx]' or 'tinycnn[keras]'.
Exit codes: 0 written, 2 error (nothing is written).
"""

import argparse
from pathlib import Path

from tinycnn.commands.shared_options import check_other_file, in_pixels, open_network
from tinycnn.errors import SettingError, printable
from tinycnn.layers import Sequential
from tinycnn.layers.metadata import SCALES as PIXELS
from tinycnn.saving.foreign_files import KERAS, ONNX, TORCH, description
from tinycnn.saving.model_file import check_finite, load, save

EXPORT = (
    ". Or export the module with torch.onnx.export(module.eval(), (example,), 'module.onnx', external_data=False), and "
    "import that file"
)
OF_TENSORFLOW = "; a SavedModel of TensorFlow is exported by keras_model.export('network.onnx', format='onnx')"
ALLOWED = 1e-4  # of the largest output, or of 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the file, the model file, the pixels and the classes."""
    add = parser.add_argument
    add("file", metavar="FILE", type=Path, help="the file of Keras, or the ONNX file")
    add("--model", metavar="MODEL_FILE", type=Path, required=True, help="the file to write, model.safetensors")
    add("--into", metavar="NETWORK", help="a model file, or the name of a network, for a file of weights alone")
    add("--pixels", choices=PIXELS, help="the pixels that the network takes (default: inferred from its constants)")
    add("--scale", type=float, metavar="X", help="factor of the pixels in front of the network (of bytes by default)")
    add("--offset", type=float, default=0.0, metavar="X", help="added after the factor (default: 0)")
    add("--class-names", nargs="+", metavar="NAME", help="names of the classes (default: from the file)")


def run(options: argparse.Namespace) -> None:
    """Convert, compare where that is possible, write."""
    from tinycnn.interchange.keras.file import is_of_keras

    if options.file.suffix.lower() == ".safetensors":
        load(options.file)  # or the reason why it is none of ours
        raise SettingError(f"{options.file}: this is a model file of tinycnn already, which all commands take as it is")
    if options.file.is_dir():
        raise SettingError(f"{printable(str(options.file))}: is a folder; give the file in it{OF_TENSORFLOW}")
    found = description(options.file)
    if found not in (None, KERAS, ONNX):
        more = EXPORT if found == TORCH else ""
        raise SettingError(
            f"{printable(str(options.file))}: expected a file of Keras or an ONNX file, but this is {found}{more}"
        )
    of_keras = is_of_keras(options.file)
    check_other_file("--model", options.model, options.file, "file of Keras" if of_keras else "ONNX file")
    if options.into is not None:
        check_other_file("--model", options.model, options.into, "network of --into")
        model, compared = with_weights(options)
        reason = "as in the network"
    else:
        model, reason, compared = from_keras(options) if of_keras else from_onnx(options)
    if options.class_names:
        model.class_names = options.class_names
    save(model, options.model)
    print(model.summary())
    print(in_pixels(model, options.in_options(reason), "--pixels"))
    print(f"{options.model}: {compared}")


def from_onnx(options: argparse.Namespace) -> tuple[Sequential, str, str]:
    """The network in an ONNX file, the reason for its pixels, and a sentence about the comparison."""
    from tinycnn.interchange.onnx.importer import import_onnx, largest_difference

    imported = import_onnx(options.file, scale=options.scale, offset=options.offset, pixels=options.pixels)
    check_finite(imported.model, options.file)
    difference = largest_difference(imported, options.file)
    if not difference <= ALLOWED:
        raise SettingError(f"import: ONNX Runtime gives different results (up to {difference:.1g}); not written")
    compared = f"outputs of tinycnn and of ONNX Runtime with {options.file} agree up to {difference:.1e}"
    return imported.model, imported.reason, compared


def from_keras(options: argparse.Namespace) -> tuple[Sequential, str, str]:
    """The network in a file of Keras, the reason for its pixels, and a sentence that it was not compared."""
    from tinycnn.interchange.keras.importer import import_keras

    model, reason = import_keras(options.file, scale=options.scale, offset=options.offset, pixels=options.pixels)
    check_finite(model, options.file)
    return model, reason, "every layer and every array of the file was read; Keras itself was not run"


def with_weights(options: argparse.Namespace) -> tuple[Sequential, str]:
    """The network that ``--into`` names, with the weights in a file of Keras, and a sentence about them."""
    from tinycnn.interchange.weights import load_keras_weights

    if options.scale is not None or options.offset:
        raise SettingError("--scale and --offset add a layer, which a network for --into must already have")
    model = open_network(options.into).eval()
    load_keras_weights(model, options.file)
    check_finite(model, options.file)
    if options.pixels:
        model.pixels = options.pixels
    return model, f"{printable(options.into)} with the weights of {options.file}"
