"""Turn RAW files of real or simulated cameras into pairs of a Bayer stack and its developed target."""

from cameras.develop import develop
from cameras.raw import RawError, RawFrame
