"""Training pairs of one camera: Bayer stacks and the RGB images developed from them, in flat files.

A camera is a folder::

    <root>/<name>/index.json     what is stored where, and which files were refused
                  bayer.u16      Bayer pixels (R, G1, G2, B) of every image, one image after the other
                  target.u8      RGB pixels of every image, in the same order

Images are appended. The index is replaced only after an image is safely on disk, so a process may be killed at any
time: bytes after the last indexed image are leftovers, and the next append overwrites them.

Everything is flat, because images differ in size: `Pairs.bayer` is a (P, 4) tensor of all Bayer pixels of the
camera, and `Pairs.target` a (4P, 3) tensor of all RGB pixels. Image i, a Bayer stack of height h and width w,
occupies h·w rows of `bayer` from `offset[i]`, and 4·h·w rows of `target` from 4·`offset[i]`.

    index     index.json: its data classes, reading and writing it
    storing   append images and refusals to a camera's folder
    reading   open a camera's folder as tensors, split its images, verify their checksums
"""

from cameras.pairs.index import (
    BAYER_FILE,
    BYTES_PER_BAYER_PIXEL,
    BYTES_PER_CELL,
    INDEX_FILE,
    TARGET_FILE,
    Index,
    Refusal,
    Source,
    StoredImage,
)
from cameras.pairs.reading import Pairs, bayer_to_float, held_out, split, target_to_float, verify
from cameras.pairs.storing import PairError, append, quantise, refuse

# Raise it when a change of this code changes results: keys of finished work that used it then no longer match.
VERSION = 1

__all__ = [
    "BAYER_FILE",
    "BYTES_PER_BAYER_PIXEL",
    "BYTES_PER_CELL",
    "INDEX_FILE",
    "TARGET_FILE",
    "VERSION",
    "Index",
    "PairError",
    "Pairs",
    "Refusal",
    "Source",
    "StoredImage",
    "append",
    "bayer_to_float",
    "held_out",
    "quantise",
    "refuse",
    "split",
    "target_to_float",
    "verify",
]
