"""A study file, read and checked: frozen settings, and the trials that they ask for."""

from study.settings.frozen import Frozen
from study.settings.grid import Planned, planned
from study.settings.load import load_study, presets
from study.settings.messages import StudyError, user_errors
from study.settings.point import check_search, planned_at
from study.settings.schema import (
    NAME,
    Camera,
    Fingerprints,
    LowLight,
    Resources,
    Simulation,
    Study,
    at_home,
    expanded,
)
from study.settings.search import Domain, Range, Search, StopEarly
from study.settings.secrets import without_password
