"""What happens to a developed photograph: manipulations, down-sampling, compression (paper, section 4)."""

from channel.distribution import Channel
from channel.encoders import encode
from channel.jpeg import DifferentiableJPEG
from channel.manipulations import Manipulations

__all__ = ["Channel", "DifferentiableJPEG", "Manipulations", "encode"]
