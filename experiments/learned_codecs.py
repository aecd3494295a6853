"""What a channel's codec gains for forensics when it learns: the tables of experiments/learned-codecs.yaml.

    python experiments/learned_codecs.py [--storage results] [--photographs FILE…]      runs what is missing; it resumes

The first table is the report's: each codec beside itself as it was. The second compares JPEG tables that learned with
the FAN with tables that learned rate and distortion alone (λ_c = 1), at equal rate: what remains is the FAN's doing.
With photographs, best those of the test images, the third says what learned tables cost there: BD-rates against
libjpeg's tables, for the tables of the first seed.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient

import models
from channel.codecs import build
from channel.codecs.learned_jpeg import LearnedJPEG
from channel.codecs.learning import LearningCodec
from forensics.compression.bd_rates import bd_rates
from forensics.compression.coders import Coder, Setting
from forensics.compression.rates import rates, read
from study import results, tracking
from study.jobs.codec_pretraining import CODEC_FILE
from study.jobs.plan import resolve
from study.report.sections.own_codec import table
from study.results import own_codec
from study.settings import expanded, load_study

STUDY = Path(__file__).with_name("learned-codecs.yaml")
RATE_AND_DISTORTION = 1.0  # λ_c at which the FAN's gradient counts for nothing
QUALITIES = (20, 30, 40, 50, 60, 70, 80, 85, 90)
FACTOR = 2  # by which the channel shrinks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", default="results")
    parser.add_argument("--photographs", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    subprocess.run([sys.executable, "-m", "study", "run", str(STUDY), "--storage", options.storage], check=True)
    study = load_study(str(STUDY)).model_copy(update={"storage": expanded(options.storage)})
    snapshot = tracking.read(tracking.tracking_uri(study), study.name)
    assert snapshot is not None
    planned = results.of_plan(results.trials(snapshot), resolve(study, snapshot).table)
    rows = own_codec.own_codecs(planned)
    with pd.option_context("display.width", 250, "display.max_columns", 40):
        print(table(rows).printed.to_string(index=False))
        jpeg = rows[rows["codec"] == "learned_jpeg"]
        gains = own_codec.over_seeds(own_codec.at_equal_rate(jpeg, RATE_AND_DISTORTION))
        shown = [name for name in gains if name.startswith(("codec_lambda", "bpp", "accuracy_gain", "psnr_gain"))]
        print(gains[[*shown, "seeds"]].round(4).to_string(index=False))
        if options.photographs:
            print(costs(planned, snapshot.client, options.photographs).round(1).to_string(index=False))


def costs(trials: pd.DataFrame, client: MlflowClient, photographs: list[Path]) -> pd.DataFrame:
    """BD-rates of learned tables against libjpeg's, in per cent of the bytes, with 95 % intervals over photographs."""
    learned = trials[(trials["channel.codec"] == "learned_jpeg:50") & (trials["seed"] == trials["seed"].min())]
    weights = pd.to_numeric(learned[own_codec.LEARNS], errors="coerce")
    coders = [
        coder("unchanged", {str(quality): LearnedJPEG(quality) for quality in QUALITIES}),
        coder("rate and distortion", stored(learned[weights == RATE_AND_DISTORTION], client)),
        coder("with the FAN", stored(learned[weights < RATE_AND_DISTORTION], client)),
    ]
    found = rates([(path.stem, read(path, FACTOR)) for path in photographs], coders)
    return pd.DataFrame([asdict(one) for one in bd_rates(found, "unchanged")])


def stored(trials: pd.DataFrame, client: MlflowClient) -> dict[str, LearningCodec]:
    """The codecs that trials have left, by their places on the study's axes."""
    found = {}
    for trial in trials.to_dict("records"):
        with tempfile.TemporaryDirectory() as folder:
            file = client.download_artifacts(trial["run_id"], CODEC_FILE, folder)
            found[f"{trial[own_codec.RATE_WEIGHT]} {trial[own_codec.LEARNS]}"] = models.load(file, build=build)
    return found


def coder(name: str, codecs: dict[str, LearningCodec]) -> Coder:
    settings = tuple(
        Setting(quality, codec.eval().compress, codec.decompress) for quality, codec in sorted(codecs.items())
    )
    return Coder(name, settings, settings, rising=False)


if __name__ == "__main__":
    main()
