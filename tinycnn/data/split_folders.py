"""A folder whose pictures are divided already: ``train`` beside ``test``, or beside ``val`` if there is no ``test``."""

from dataclasses import dataclass
from pathlib import Path

TRAIN, TEST = ("train", "training"), ("test", "testing")
VALIDATION = ("val", "valid", "validation")


@dataclass(frozen=True)
class SplitFolders:
    """The folders of the training pictures and of those held out, and a further one that is not used, if there is."""

    train: Path
    test: Path
    unused: Path | None = None

    @property
    def notice(self) -> str | None:
        """What to do about the folder that is not used."""
        if self.unused is None:
            return None
        return (
            f"NOTICE: the pictures in {self.unused.name} are not used, because those in {self.test.name} are held out. "
            f"For validation images, pass `validation_split` to fit, or load {self.train.name} and {self.unused.name} "
            "alone, from a folder of their own."
        )


def split_folders(root: Path) -> SplitFolders | None:
    """The parts in ``root``; None if it is not divided into folders for training and for what is held out."""
    train, *held_out = named_parts(root)
    if train is None or held_out == [None, None]:
        return None
    return SplitFolders(train, *filter(None, held_out))


def named_parts(root: Path) -> list[Path | None]:
    """The folders in ``root`` for training, testing and validation, which may be upper case, such as ``Train``."""
    found = {path.name.lower(): path for path in sorted(root.iterdir(), reverse=True) if path.is_dir()}
    return [next((found[name] for name in names if name in found), None) for names in (TRAIN, TEST, VALIDATION)]
