"""What happens to a developed photograph: manipulations, down-sampling, compression (paper, section 4)."""

from channel.codecs import CODECS, compress, decompress, encode
from channel.codecs.jpeg import DifferentiableJPEG
from channel.distribution import Channel, Drawn, could_draw, versions
from channel.downsampling import shrink
from channel.manipulations import OPERATORS, Manipulations
