"""Convert a network of Keras (.keras, .h5) or an ONNX file, for example from PyTorch, to a model file.

The network takes images channels last, (N, H, W, C), whatever layout the file has. The file does not record how pixels
were prepared. --pixels states their range; without it, the range is inferred from the first constants of the network,
and the command prints the range and the reason. --mean and --std add the preparation that is not in the file, such as
PyTorch's Normalize: one number, or one for each channel. --scale and --offset are the same as a factor and a term.

An ONNX file is compared with ONNX Runtime before the model file is written. A file of weights alone (.weights.h5) needs
--into, a network with the same layers. Requires: pip install 'tinycnn[onnx]' or 'tinycnn[keras]'.
Exit codes: 0 written, 2 error (nothing is written).
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinycnn.commands.shared_options import check_other_file, in_pixels, open_network
from tinycnn.errors import SettingError, printable
from tinycnn.layers import BatchNorm, Normalization, Rescaling, Sequential
from tinycnn.layers.interface.likely_pixels import first_layer
from tinycnn.layers.metadata import PIXELS
from tinycnn.saving.foreign_files import KERAS, ONNX, TORCH, description
from tinycnn.saving.model_file import check_finite, load, save

if TYPE_CHECKING:
    from tinycnn.interchange.preparation import Preparation

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
    numbers: dict[str, Any] = {"nargs": "+", "type": number_list, "metavar": "X", "action": OneOrMore}
    add("--mean", **numbers, help="subtracted from the pixels in front of the network; one for each channel, or one")
    add("--std", **numbers, help="by which the difference is divided, as in Normalize(mean, std) of PyTorch")
    add("--scale", **numbers, help="factor of the pixels in front of the network (of bytes by default)")
    add("--offset", **numbers, default=0.0, help="added after the factor (default: 0)")
    add("--class-names", nargs="+", metavar="NAME", help="names of the classes (default: from the file)")


def number_list(text: str) -> list[float]:
    """The numbers in a word of the command line, such as 0.485,0.456,0.406."""
    try:
        return [float(part) for part in text.split(",") if part]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers, got {text!r}") from None


class OneOrMore(argparse.Action):
    """Stores a number, or a list of several, which stand in one word with commas or in several words."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        found = [number for part in values for number in part]
        setattr(namespace, self.dest, found[0] if len(found) == 1 else found)


def preparation_of(options: argparse.Namespace) -> "Preparation":
    """What the options state; raises SettingError for several factors, with those to pass instead."""
    from tinycnn.interchange.preparation import Preparation

    scale, offset = options.scale, options.offset
    if isinstance(scale, list) or isinstance(offset, list):
        raise SettingError(f"--scale and --offset take one number: pass {as_mean_and_std(scale, offset)}")
    return Preparation(scale, offset, options.mean, options.std)


def as_mean_and_std(scale: Any, offset: Any) -> str:
    """The options that prepare pixels as these factors and terms of each channel do."""
    scales, offsets = np.atleast_1d(np.nan if scale is None else scale), np.atleast_1d(offset)
    if not (scales > 0).all() or len({len(scales), len(offsets)} - {1}) > 1:
        return "--mean and --std, which take one for each channel"
    scales, offsets = np.broadcast_arrays(scales, offsets)
    mean, std = (" ".join(f"{number:.6g}" for number in each) for each in ((0 - offsets) / scales, 1 / scales))
    return f"--mean {mean} --std {std}"


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
    stated = options.into is not None or preparation_of(options).layers() or first_layer_prepares(model)
    hint = "" if stated else "; if it was trained on pixels with a mean and std, as of Normalize, pass --mean and --std"
    print(in_pixels(model, options.in_options(reason), "--pixels") + hint)
    print(f"{options.model}: {compared}")


def first_layer_prepares(model: Sequential) -> bool:
    """Whether the network itself shifts or scales the pixels first."""
    return isinstance(first_layer(model), Rescaling | Normalization | BatchNorm)


def from_onnx(options: argparse.Namespace) -> tuple[Sequential, str, str]:
    """The network in an ONNX file, the reason for its pixels, and a sentence about the comparison."""
    from tinycnn.interchange.onnx.importer import import_onnx, largest_difference

    imported = import_onnx(options.file, preparation_of(options), pixels=options.pixels)
    check_finite(imported.model, options.file)
    difference = largest_difference(imported, options.file)
    if not difference <= ALLOWED:
        raise SettingError(f"import: ONNX Runtime gives different results (up to {difference:.1g}); not written")
    compared = f"outputs of tinycnn and of ONNX Runtime with {options.file} agree up to {difference:.1e}"
    return imported.model, imported.reason, compared


def from_keras(options: argparse.Namespace) -> tuple[Sequential, str, str]:
    """The network in a file of Keras, the reason for its pixels, and a sentence that it was not compared."""
    from tinycnn.interchange.keras.importer import import_keras

    model, reason = import_keras(options.file, preparation_of(options), pixels=options.pixels)
    check_finite(model, options.file)
    return model, reason, "every layer and every array of the file was read; Keras itself was not run"


def with_weights(options: argparse.Namespace) -> tuple[Sequential, str]:
    """The network that ``--into`` names, with the weights in a file of Keras, and a sentence about them."""
    from tinycnn.interchange.weights import load_keras_weights

    if preparation_of(options).layers():
        raise SettingError(
            "--mean and --std, as --scale and --offset, add a layer, which a network for --into must already have"
        )
    model = open_network(options.into).eval()
    load_keras_weights(model, options.file)
    check_finite(model, options.file)
    if options.pixels:
        model.pixels = options.pixels
    return model, f"{printable(options.into)} with the weights of {options.file}"
