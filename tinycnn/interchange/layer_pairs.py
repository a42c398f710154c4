"""Which layer of a PyTorch state dict belongs to which layer of a network.

The order of the entries is not enough: safetensors sorts names, so that ``conv10`` precedes ``conv2``. Layers are
paired by the names and shapes of their arrays. That leaves a choice only between layers with equal shapes. Their order
follows from the numbers in their names if the names differ only in numbers, and from the order of the entries if
PyTorch can have registered the modules in this order. If both orders are known, they must agree. If neither is known,
an error is raised.

A prefix that all names share, such as ``module.`` or ``_orig_mod.``, is ignored.
"""

import itertools
import re
from collections.abc import Iterable, Mapping

from tinycnn.errors import ShapeError, shortened

Arrays = dict[str, tuple[int, ...]]  # the shapes of the arrays of one layer, by name
REGISTERED = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")  # the order within one module
LONGEST = 2000  # characters of a list of names in a message
NUMBER = re.compile(r"[0-9]+")


def pair_layers(
    ours: dict[str, Arrays], theirs: dict[str, Arrays], keys: list[str], names: Mapping[str, str] | None
) -> dict[str, str]:
    """Map each layer of ``ours`` to one of ``theirs``, by ``names`` if given; ``keys`` are all names of the file.

    Raises ShapeError if a layer has no counterpart, or several that could be exchanged. Layers whose shapes differ
    are paired only if no other are left: the caller reports the shapes.
    """
    prefix = common_prefix(theirs)
    if names is not None:
        return named_pairs(ours, theirs, prefix, dict(names))
    if len(ours) != len(theirs):
        raise ShapeError(
            f"load_torch_state_dict: layers {listed(theirs)} for our {listed(ours)}: expected exactly one for each; "
            "pass `names` to state which of them to use"
        )
    if {prefix + name for name in ours} == theirs.keys():  # a network of tinycnn wrote the file
        return {name: prefix + name for name in ours}
    order = list(theirs) if is_registered(keys) else None
    pairs: dict[str, str] = {}
    for arrays in unique(ours.values()):
        mine, candidates = with_arrays(arrays, ours), with_arrays(arrays, theirs)
        if len(mine) == len(candidates):
            pairs |= zip(mine, in_order(candidates, mine, order), strict=True)
    left = [name for name in ours if name not in pairs]
    used = set(pairs.values())
    pairs |= zip(left, (name for name in theirs if name not in used), strict=True)
    check_array_names(ours, theirs, pairs)
    return pairs


def named_pairs(
    ours: dict[str, Arrays], theirs: dict[str, Arrays], prefix: str, names: dict[str, str]
) -> dict[str, str]:
    """The pairs that ``names`` states, with or without the ``prefix`` of the file."""
    pairs = {name: their if their in theirs else f"{prefix}{their}" for name, their in names.items()}
    unknown = [name for name in pairs.values() if name not in theirs]
    if pairs.keys() != ours.keys() or unknown or len(set(pairs.values())) < len(pairs):
        raise ShapeError(
            f"load_torch_state_dict: layers {listed(theirs)} for our {listed(ours)}, "
            f"names {shortened(names, LONGEST)}: expected exactly one for each"
        )
    check_array_names(ours, theirs, pairs)
    return pairs


def check_array_names(ours: dict[str, Arrays], theirs: dict[str, Arrays], pairs: dict[str, str]) -> None:
    """Raise ShapeError if a layer and its counterpart do not have arrays of the same names."""
    for name, their_name in pairs.items():
        if ours[name].keys() != theirs[their_name].keys():
            raise ShapeError(
                f"load_torch_state_dict: {shown(their_name)} has {listed(sorted(theirs[their_name]))}, our {name} "
                f"needs {sorted(ours[name])}; if they do not belong together, pass `names={{{name!r}: …}}`"
            )


def common_prefix(layers: Iterable[str]) -> str:
    """The modules that contain all ``layers``, as ``module.`` or ``""``."""
    modules = zip(*(name.split(".")[:-1] for name in layers), strict=False)
    return "".join(f"{level[0]}." for level in itertools.takewhile(lambda level: len(set(level)) == 1, modules))


def is_registered(keys: list[str]) -> bool:
    """Whether ``keys`` can be the order in which modules were registered; not if they are sorted or mixed."""
    layers = [key.rpartition(".")[0] for key in keys]
    if keys == sorted(keys) or len([*itertools.groupby(layers)]) > len(set(layers)):
        return False
    by_layer: dict[str, list[int]] = {}
    for layer, key in zip(layers, keys, strict=True):
        name = key.rpartition(".")[2]
        by_layer.setdefault(layer, []).append(REGISTERED.index(name) if name in REGISTERED else len(REGISTERED))
    return all(places == sorted(places) for places in by_layer.values())


def in_order(candidates: list[str], ours: list[str], order: list[str] | None) -> list[str]:
    """``candidates``, which have equal shapes, in the order of the layers ``ours``; ShapeError if it is unknown.

    ``order``: all layers in the order of registration, None if that is unknown.
    """
    if len(candidates) == 1:
        return candidates
    numbers = {name: tuple(map(int, NUMBER.findall(name))) for name in candidates}
    by_number = len({NUMBER.sub("#", name) for name in candidates}) == 1 and len(set(numbers.values())) == len(numbers)
    sorted_by_number = sorted(candidates, key=numbers.__getitem__)
    registered = None if order is None else [name for name in order if name in numbers]
    if by_number and registered in (None, sorted_by_number):
        return sorted_by_number
    if registered is not None and not by_number:
        return registered
    reason = (
        f"the file lists them as {listed(registered)}, their numbers say {listed(sorted_by_number)}"
        if registered
        else "neither their names nor the order of the file determine which comes first"
    )
    raise ShapeError(
        f"load_torch_state_dict: our {listed(ours)} have equal shapes, and so have {listed(candidates)} of the file: "
        f"{reason}; pass `names`, as in names={{{ours[0]!r}: {shortened(candidates[0])}, …}}, with every layer that "
        "has weights"
    )


def listed(names: Iterable[str]) -> str:
    """Names for a message: escaped, and truncated if there are very many."""
    return shortened(list(names), LONGEST)


def shown(name: str) -> str:
    """A name from the file for a message: without quotes, unless it has to be escaped or cut."""
    return name if name.isprintable() and len(name) < LONGEST else shortened(name)


def unique(found: Iterable[Arrays]) -> list[Arrays]:
    """The different shapes in ``found``, each once."""
    result: list[Arrays] = []
    for arrays in found:
        if arrays not in result:
            result.append(arrays)
    return result


def with_arrays(arrays: Arrays, layers: dict[str, Arrays]) -> list[str]:
    """The names of the ``layers`` that have exactly these arrays."""
    return [name for name, own in layers.items() if own == arrays]
