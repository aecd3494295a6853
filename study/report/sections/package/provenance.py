"""Where the package comes from, what its weights may be used for, and the settings of its trial."""

import yaml
from markupsafe import Markup

from study.report.package_content import PackageContent
from study.report.parts import MACROS, Part, Section, details

TITLES = {
    "run_id": "MLflow run",
    "trial_key": "Trial key",
    "seed": "Seed",
    "git_revision": "Code revision",
    "packages": "Packages",
    "hardware": "Hardware",
    "device": "Device",
    "threads": "Threads",
    "data_fingerprint": "Data hash",
    "nip_sha256": "Hash of the NIP that training began with",
}


def section(content: PackageContent) -> Section:
    about = content.about
    known = {"Licence of the weights": about["licence"], "Release": about["release"]}
    known |= {TITLES.get(name, name): str(value) for name, value in about["provenance"].items()}
    settings = yaml.safe_dump(dict(content.trial), sort_keys=False, allow_unicode=True)
    return Section(
        "Provenance and licence",
        [
            Part(MACROS.definitions([(title, [(text, 1)]) for title, text in known.items()])),
            details("Settings of the trial", Part(Markup("<pre>{}</pre>\n").format(settings))),
        ],
    )
