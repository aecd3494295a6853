"""Forensics: the FAN, the joint objective, its training loop and its validation (sections 4 and 5)."""

from forensics import fan, training
from forensics.fan import FAN
from forensics.joint import JointModel
from forensics.training import Outcome, train
from forensics.trial import Trial

VERSIONS = {"FAN": fan.VERSION, "training": training.VERSION}  # of the parts that every trial uses: keys contain them
