"""Copy the pictures of training runs to docs/pictures, with fewer colours so that the files are small.

python docs/pictures_of_the_runs.py runs/keras_cnn runs/batchnorm_cnn
"""

import shutil
import sys
from pathlib import Path

from PIL import Image

COLOURS = 256  # with 128, the grey pixels of a digit get a tint


def main(folders: list[str]) -> None:
    """Copy every PNG and SVG of the runs to docs/pictures/<name of the run>/."""
    for folder in map(Path, folders):
        target = Path(__file__).parent / "pictures" / folder.name
        target.mkdir(parents=True, exist_ok=True)
        for picture in sorted(folder.glob("*.png")):
            few = Image.open(picture).convert("RGB").quantize(COLOURS, kmeans=3, dither=Image.Dither.NONE)
            few.save(target / picture.name, optimize=True)
        for drawing in folder.glob("*.svg"):
            shutil.copy(drawing, target)


if __name__ == "__main__":
    main(sys.argv[1:])
