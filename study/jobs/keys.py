"""Keys: hashes of what decides the result of a job.

A key hashes the job's identity (camera, NIP, λ, seed, hashes of its data), the settings that *differ from a committed
baseline*, and the versions above 1 of the parts that the job uses. So a setting that is added later, or a new version
of a part that a job does not use, leaves the keys of finished work as they are.

``baseline.yaml`` holds the value that each setting had when it was introduced: for a new setting, the value that gives
the results from before. It is never edited afterwards, whatever the default becomes.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml

KEY_TAG = "key_recipe"  # of a run: which recipe made its key
KEY_RECIPE = "3"


def key(kind: str, identity: Mapping[str, Any], settings: Mapping[str, Any], versions: Mapping[str, int]) -> str:
    """32 hexadecimal digits.

    Args:
        kind: of the job.
        identity: what always counts; JSON values.
        settings: by section and name, as in ``baseline.yaml``; nested.
        versions: of the parts that the job uses, by their names.

    Raises:
        LookupError: a setting has no baseline.
    """
    content: dict[str, Any] = {"kind": kind, "identity": identity, "settings": differences(settings)}
    if later := {part: version for part, version in versions.items() if version > 1}:
        content["versions"] = later
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def differences(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that differ from the baseline, by dotted names."""
    found = {}
    for name, value in flat(settings).items():
        if name not in _baseline():
            raise LookupError(f"{name} is not in study/jobs/baseline.yaml: add the value that gives earlier results")
        plain = list(value) if isinstance(value, tuple) else value
        if plain != _baseline()[name]:
            found[name] = plain
    return found


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``{"channel": {"codec": …}}`` → ``{"channel.codec": …}``"""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": setting for inner, setting in flat(value).items()}
        else:
            found[name] = value
    return found


@cache
def _baseline() -> dict[str, Any]:
    return flat(yaml.safe_load((resources.files("study.jobs") / "baseline.yaml").read_text()))
