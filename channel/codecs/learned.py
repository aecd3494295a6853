"""The learned codec; its quality is its number of features."""

from channel.codecs.codec import Codec
from channel.learned import FEATURES, VERSION, Autoencoder

CODEC = Codec(
    learning=Autoencoder,
    pretrained=True,
    qualities=FEATURES,
    version=VERSION,
)
