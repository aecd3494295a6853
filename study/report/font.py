"""The font of all figures: DejaVu Sans reduced to what they write.

Every PDF embeds the letters that it uses, cut out of the font file. Of all of DejaVu Sans, with its 6,000 letters and
its tables for the layout of scripts, that takes 0.2 s a figure; of this part of it a few milliseconds. Letters that it
lacks, as a camera's name may hold, come from DejaVu Sans itself.
"""

import tempfile
from functools import cache
from pathlib import Path

from fontTools import subset  # type: ignore[import-untyped]
from matplotlib import font_manager

WHOLE, REDUCED = "DejaVu Sans", "DejaVu Figures"
LETTERS = [  # the fewer, the faster each is cut
    *range(0x20, 0x180),  # Latin
    *range(0x391, 0x3CA),  # Greek
    *range(0x2010, 0x2028),  # punctuation
    *range(0x2070, 0x2090),  # superscripts, subscripts
    *range(0x2190, 0x2194),  # arrows
    *map(ord, "∂∆∑−√∞≈≠≤≥"),
]
UNUSED = ["GSUB", "GPOS", "GDEF", "kern", "FFTM"]  # of layout, and FontForge's time stamp


@cache
def families() -> tuple[str, str]:
    """The families to write in, the first that has a letter; made once per process."""
    options = subset.Options(notdef_outline=True, name_IDs="*", glyph_names=True, hinting=False)
    options.drop_tables += UNUSED
    with subset.load_font(font_manager.findfont(WHOLE), options) as font:
        cut = subset.Subsetter(options)
        cut.populate(unicodes=LETTERS)
        cut.subset(font)
        for name in (1, 4, 6, 16):  # family, full name, PostScript name, typographic family
            font["name"].setName(REDUCED.replace(" ", "") if name == 6 else REDUCED, name, 3, 1, 0x409)
        font["name"].names = [entry for entry in font["name"].names if entry.platformID == 3]
        path = Path(_folder().name) / "DejaVuFigures.ttf"
        font.save(path)
    font_manager.fontManager.addfont(path)
    return REDUCED, WHOLE


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    """Where the reduced font lies until the process ends: matplotlib reads it again for every file."""
    return tempfile.TemporaryDirectory(prefix="figures-")
