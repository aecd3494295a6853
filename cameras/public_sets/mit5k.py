"""MIT-Adobe FiveK: 5000 photographs of 35 camera models, as DNG (Bychkovsky et al., CVPR 2011).

The set's server holds every DNG as a single file, ``img/dng/NAME.dng``, but no list of the cameras. A list in three
files was made from the DNG files by the GitHub repository yuukicammy/mit-adobe-fivek-dataset: data/training.json,
validation.json and testing.json, with 3500, 500 and 1000 photographs. (There are copies of it at
huggingface.co/datasets/yuukicammy/MIT-Adobe-FiveK.) It states no licence; so it is downloaded, and not stored in this
project. Its entries are

    "a1384-dvf_095": {"urls": {"dng": "http://data.csail.mit.edu/…/a1384-dvf_095.dng", …}, "license": "Adobe",
                      "camera": {"make": "Leica", "model": "M8"}, …}

The set publishes no checksums. This module was written after copies of the lists and scripts that read them; it was
never tried with the servers themselves.
"""

import json
from pathlib import Path

from cameras.downloads import Remote
from cameras.public_sets.public_set import Photograph, PublicSet

HOME = "https://data.csail.mit.edu/graphics/fivek/"
LISTS = "https://raw.githubusercontent.com/yuukicammy/mit-adobe-fivek-dataset/bc49daf80a25d0e97dec20a6164f1d0c43e44857/data/"


def read(path: Path) -> list[Photograph]:
    """The photographs of a list, with the addresses on the set's server by HTTPS. Raises ValueError, OSError."""
    try:
        return [
            Photograph(
                f"{entry['camera']['make']} {entry['camera']['model']}",
                Remote(
                    f"{name}.dng",
                    entry["urls"]["dng"].replace("http://data.csail.mit.edu/", "https://data.csail.mit.edu/"),
                ),
            )
            for name, entry in json.loads(path.read_bytes()).items()
        ]
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON ({error})") from None
    except (TypeError, KeyError, AttributeError, UnicodeDecodeError):
        raise ValueError("it is no table of photographs with their urls and camera") from None


MIT5K = PublicSet(
    title="MIT-Adobe FiveK",
    home=HOME,
    terms=f"for research only, under the terms in {HOME}legal/LicenseAdobe.txt and LicenseAdobeMIT.txt",
    lists=tuple(Remote(name, LISTS + name) for name in ("training.json", "validation.json", "testing.json")),
    where_lists_are=(
        "training.json, validation.json and testing.json lie in "
        "https://github.com/yuukicammy/mit-adobe-fivek-dataset/tree/master/data"
    ),
    read=read,
    bytes_each=10_000_000,  # about 50 GB in all
)
