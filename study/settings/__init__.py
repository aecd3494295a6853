"""A study file, read and checked: frozen settings, and the trials that they ask for."""

from study.settings.schema import *  # noqa: F403
