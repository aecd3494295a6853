"""What a channel's codec gains for forensics when it learns: the tables of experiments/learned-codecs.yaml.

    python experiments/learned_codecs.py [--storage results]        runs what is missing of the study; it resumes

The first table is the report's: each codec beside itself as it was. The second compares JPEG tables that learned with
the FAN with tables that learned rate and distortion alone (λ_c = 1), at equal rate: what remains is the FAN's doing.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd

from study import results, tracking
from study.jobs.plan import resolve
from study.report.sections.own_codec import table
from study.results import own_codec
from study.settings import expanded, load_study

STUDY = Path(__file__).with_name("learned-codecs.yaml")
RATE_AND_DISTORTION = 1.0  # λ_c at which the FAN's gradient counts for nothing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", default="results")
    storage = parser.parse_args().storage
    subprocess.run([sys.executable, "-m", "study", "run", str(STUDY), "--storage", storage], check=True)
    study = load_study(str(STUDY)).model_copy(update={"storage": expanded(storage)})
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


if __name__ == "__main__":
    main()
