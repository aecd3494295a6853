"""The learned codec: an autoencoder with a soft codebook, and the files that it writes.

network     the autoencoder, a channel.codecs.learning.LearningCodec
codebook    quantisation that training passes through, and entropy
bitstream   the bytes of a file
"""

from channel.learned.network import FEATURES, VERSION, Autoencoder

__all__ = ["FEATURES", "VERSION", "Autoencoder"]
