"""JPEG compression by dJPEG with sinusoidal rounding (paper, section 4.3). The strength is the quality."""

from channel.codecs.jpeg import CODEC, DifferentiableJPEG
from channel.manipulations.operator import Operator


def build(quality: float) -> DifferentiableJPEG:
    return DifferentiableJPEG(int(quality))


OPERATOR = Operator(None, default=80, low=1, high=100, step=1, build=build, version=CODEC.version)
