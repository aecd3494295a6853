"""What happens to a developed photograph: manipulations, down-sampling, compression (paper, section 4)."""

from channel.codecs import CODECS, encode
from channel.codecs.jpeg import DifferentiableJPEG
from channel.distribution import Channel, versions
from channel.manipulations import OPERATORS, Manipulations
