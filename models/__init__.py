"""Neural imaging pipelines (NIPs): Bayer stacks (N,4,h,w) in [0,1] → developed RGB (N,3,2h,2w) in [0,1]."""

from models.nip import NIP
from models.registry import NIPS, build, pretrained_as, versions
from models.weights import load, metadata, save
