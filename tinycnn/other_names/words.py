"""How the tables are written: several names that lead to one sentence."""

AUGMENT = "pass `augment` to fit: see tinycnn.data.augment"  # in two tables


def for_all(names: str, sentence: str) -> dict[str, str]:
    """The same ``sentence`` for all ``names``, which are separated by spaces."""
    return dict.fromkeys(names.split(), sentence)
