"""Public sets of RAW photographs: one file each, and a line here."""

from cameras.public_sets.mit5k import MIT5K
from cameras.public_sets.public_set import Photograph, PublicSet, of_camera
from cameras.public_sets.raise_ import RAISE

SETS = {"mit5k": MIT5K, "raise": RAISE}
