"""Study files: YAML in, frozen settings out, one clear line for everything that does not fit."""

from collections.abc import Hashable
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cameras.errors import one_line
from study.settings.grid import planned
from study.settings.messages import StudyError, explain
from study.settings.point import check_search
from study.settings.schema import Study


def load_study(source: str) -> Study:
    """A preset (``smoke``, ``demo``, ``paper``, …) or a YAML file.

    Raises:
        StudyError: one line naming the file, the key and the remedy.
    """
    path = Path(source)
    if source in presets():
        text = (resources.files("study.settings") / "presets" / f"{source}.yaml").read_text("utf-8")
    elif path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StudyError(f"{source} cannot be read: {error}") from None
    else:
        raise StudyError(f"there is no study '{source}': name a YAML file or a preset ({', '.join(presets())})")
    try:
        content = _OneOfEachKey(text).get_single_data()
    except yaml.YAMLError as error:
        raise StudyError(f"{source}: not valid YAML: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise StudyError(f"{source}: a study file holds 'key: value' lines, see the presets for examples")
    try:
        study = Study.model_validate(content)
        planned(study)
        check_search(study)
    except ValidationError as error:
        raise StudyError(f"{source}: {explain(error, Study)}") from None
    except ValueError as error:
        raise StudyError(f"{source}: {error}") from None
    return study


class _OneOfEachKey(yaml.SafeLoader):
    """Refuses a key that comes twice in a mapping, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                raise yaml.YAMLError(f"the key '{name}' comes twice, in lines {lines[name]} and {line}")
            lines[name] = line
        return super().construct_mapping(node, deep)


def presets() -> list[str]:
    """Names of the studies that ship with the project."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in (resources.files("study.settings") / "presets").iterdir()
    )
