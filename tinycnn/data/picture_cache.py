"""The cache of scaled pictures: 60,000 files take 10 to 20 seconds to decode, their pixels one or two to read.

    a folder of many pictures → one file:   fingerprint (32 bytes) | SHA-256 of the pixels (32) | pixels (N, H, W, 3)

The fingerprint covers the names, sizes and times of all pictures and everything that affects how they are decoded. If
it differs, a picture has changed; if the SHA-256 differs, the cache is damaged. In both cases the pictures are decoded
again and the file is replaced. It is replaced atomically, so several processes may use it at once. The folder of the
pictures itself is never written to.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinycnn.data.download import cache_folder
from tinycnn.errors import DataError
from tinycnn.files import open_regular, write_atomically

VARIABLE = "TINYCNN_PICTURE_CACHE"  # a folder, or "off"
OFF = "off"
MOST = 1 << 32  # bytes of all files together
SUFFIX = ".pixels"
FORMAT = 1  # to be increased when decoding or scaling changes
HEADER = 2 * hashlib.sha256().digest_size


@dataclass(frozen=True)
class PictureCache:
    """The file with the pixels of some pictures, and the fingerprint that it must have."""

    path: Path
    fingerprint: bytes

    def read(self, content: np.ndarray) -> bool:
        """Read header and pixels into ``content (bytes,)``; False if there are none for these pictures."""
        with suppress(OSError), open_regular(self.path) as file:
            header, pixels = content[:HEADER], content[HEADER:]
            right_size = os.fstat(file.fileno()).st_size == content.size
            if right_size and file.readinto(header.data) == HEADER and header.tobytes().startswith(self.fingerprint):
                whole = file.readinto(pixels.data) == pixels.size
                if whole and header.tobytes() == self.fingerprint + _sha256(pixels):
                    os.utime(self.path)  # the files that were not used for longest are deleted first
                    return True
        return False

    def write(self, content: np.ndarray) -> None:
        """Write ``content (bytes,)``, whose pixels are complete; raises OSError if that is not possible."""
        if content.size <= MOST:
            content[:HEADER] = np.frombuffer(self.fingerprint + _sha256(content[HEADER:]), np.uint8)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _make_room(self.path, content.size)
            write_atomically(self.path, content.data)


def picture_cache(files: Sequence[Path], root: Path, settings: str) -> PictureCache | None:
    """The cache for the pictures ``files`` in the folder ``root``; None if it is switched off or has no place.

    ``settings`` describes how they are decoded. The order of the files counts as well.
    """
    folder = _folder()
    if folder is None:
        return None
    decoder = f"{FORMAT}, {settings}, {_decoder()}"
    name = hashlib.sha256(os.fsencode(f"{root.resolve()}\n{settings}")).hexdigest()
    lines = [decoder, *(f"{path}\n{_state(os.stat(path))}" for path in files)]
    return PictureCache(folder / f"{name[:32]}{SUFFIX}", hashlib.sha256(os.fsencode("\n".join(lines))).digest())


def new_content(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Memory for header and pixels ``(bytes,)``, and the part of it that holds the pixels ``shape``."""
    content = np.empty(HEADER + int(np.prod(shape)), np.uint8)
    return content, content[HEADER:].reshape(shape)


def _folder() -> Path | None:
    chosen = os.environ.get(VARIABLE, "")
    if chosen:
        return None if chosen == OFF else Path(os.path.expanduser(chosen))
    with suppress(DataError):  # the package that knows the user's cache is not installed
        return cache_folder("pictures")
    return None


def _decoder() -> str:
    """Pillow's version; different ones may round differently."""
    from PIL import __version__

    return __version__


def _state(status: os.stat_result) -> str:
    """What changes when a file is written, or replaced by another with the same times."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _sha256(pixels: np.ndarray) -> bytes:
    return hashlib.sha256(pixels.data).digest()


def _make_room(path: Path, needed: int) -> None:
    """Delete the files that were not used for longest, until ``needed`` bytes more are within the limit."""
    total = needed
    for other, status in sorted(_others(path), key=lambda one: -one[1].st_mtime_ns):
        total += status.st_size
        if total > MOST:
            with suppress(OSError):  # deleted by another process meanwhile
                other.unlink()


def _others(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for other in path.parent.glob(f"*{SUFFIX}"):
        with suppress(OSError):
            if other != path:
                yield other, other.stat()
