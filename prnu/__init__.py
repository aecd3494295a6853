"""Sensor fingerprints: estimate a camera's fingerprint, find it in photographs, and notice where it is missing.

Functions hide the modules of the same names: write `from prnu.residual import grey`, not `prnu.residual.grey`.
"""

from prnu.denoise import denoise, wavelet_noise
from prnu.fingerprint import Accumulator, fingerprint, load, save
from prnu.localise import Map, best_f1, f1_curve, forge, localise
from prnu.match import Match, correlation, cross_correlation, pce, pce_matrix, query
from prnu.predictor import Predictor, features
from prnu.residual import residual, saturation, wiener_dft, zero_mean

# Raise it when a change of this package changes results: keys of finished work that used it then no longer match.
VERSION = 2
