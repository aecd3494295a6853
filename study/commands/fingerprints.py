"""The PRNU experiments of a study (section 3.3 of the paper): jobs that are scheduled and tracked like its trials."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mlflow.entities import Run

from cameras.raw import RawFrame
from models.registry import NIPS
from prnu import experiment, exposures, lowlight
from study import tracking
from study.execution.driver import Preflight, Session, at_work, stage
from study.jobs import FingerprintJob, LowLightJob, PretrainingJob, TrialJob, fingerprints, low_light
from study.jobs.fingerprints import JointNip, PretrainedNip, raw_files
from study.jobs.low_light import DarkFolders
from study.jobs.plan import resolve
from study.jobs.pretraining import nip_hash
from study.report.fingerprint_page import page
from study.settings import Simulation, Study, StudyError, planned


def run(
    study: Study, preflight: Preflight, address: str = "local", retry_failed: bool = False
) -> tuple[Path, dict[str, str]]:
    """All that is missing for the experiments, and the experiments; returns the page and why some jobs failed, by name.

    What is missing may be simulated cameras, pre-trained NIPs (further instances of the UNet among them) and, of the
    study's trials, those of its first seed whose jointly trained NIPs are compared.

    Raises:
        StudyError: cameras, tracking or cluster are not there, or a camera has too few photographs.
    """
    with at_work(study, preflight, address, retry_failed) as session:
        grid, dark = session.grid(), _low_light_jobs(session)
        further = _instances(session, grid.pretrainings)
        failures = stage("pre-training and low light", session, [*grid.pretrainings, *further, *dark])
        trials = _joint_trials(session)
        failures |= stage("trials", session, trials)
        jobs = _fingerprint_jobs(session, further, trials)
        failures |= stage("fingerprints", session, jobs)
        return _publish(session, jobs, dark), failures


def _instances(session: Session, pretrainings: Sequence[PretrainingJob]) -> list[PretrainingJob]:
    """A learned NIP of the first camera, pre-trained from further seeds.

    It is the registry's first: UNet, if the study has it. How alike are pipelines that only chance tells apart?
    """
    learned = [job for job in pretrainings if job.camera == session.study.cameras[0].name and _is_learned(job.isp)]
    first = sorted(learned, key=lambda job: list(NIPS).index(job.isp))[:1]
    found = []
    for job in first:
        for seed in range(1, session.study.prnu.instances):
            pretraining = replace(job.pretraining, seed=job.pretraining.seed + seed)
            found.append(PretrainingJob.plan(job.camera, job.isp, job.split, pretraining, job.data_hash))
    return found


def _is_learned(isp: str) -> bool:
    """Whether a NIP learns to develop from random weights; those are examined."""
    return not NIPS[isp].starts_as_standard


def _joint_trials(session: Session) -> list[TrialJob]:
    """Of every camera, learned NIP and λ, the joint trial of the first seed and of the first value of further axes."""
    trials: dict[tuple[str, str, float], TrialJob] = {}
    for job in session.grid().ready:
        trial = job.trial
        if trial.lam != "fixed" and _is_learned(trial.isp) and trial.seed == session.study.seeds[0]:
            trials.setdefault((trial.camera, trial.isp, trial.lam), job)
    return list(trials.values())


def _fingerprint_jobs(
    session: Session, further: Sequence[PretrainingJob], trials: Sequence[TrialJob]
) -> list[FingerprintJob]:
    snapshot = session.snapshot()
    runs, ready = snapshot.by_key, resolve(session.study, snapshot).ready
    simulations = {camera.name: camera.simulate for camera in session.study.cameras}
    raw = all(raw_files(index) for index in session.cameras.values())
    jobs = []
    for name, index in session.cameras.items():
        pretrained: dict[str, PretrainedNip] = {}
        for job in ready:
            if job.trial.camera == name:
                pretrained.setdefault(job.nip, PretrainedNip(name=job.trial.isp, file=job.nip, sha256=job.nip_sha256))
        for number, pretraining in enumerate(further, start=2):
            run = runs.get(pretraining.key)
            if pretraining.camera == name and run is not None and (sha256 := nip_hash(run.data.tags)):
                pretrained[pretraining.weights] = PretrainedNip(
                    name=f"{pretraining.isp} {number}", file=pretraining.weights, sha256=sha256
                )
        joint = [
            JointNip(
                name=f"{job.trial.isp} λ={job.trial.lam:g}",
                lam=float(job.trial.lam),
                trial_key=job.key,
                run_id=runs[job.key].info.run_id,
            )
            for job in trials
            if job.trial.camera == name and job.key in runs and runs[job.key].info.status == "FINISHED"
        ]
        _require_enough(session.study, name, len(index.images))
        fingerprint_job = FingerprintJob.plan(
            camera=name,
            simulation=simulations[name],
            data_hash=index.data_hash,
            others={other: its.data_hash for other, its in session.cameras.items() if other != name},
            raw=raw,
            pretrained=tuple(pretrained.values()),
            joint=tuple(joint),
            settings=session.study.prnu,
            channel=planned(session.study)[0].trial.channel,
        )
        jobs.append(fingerprint_job)
    return jobs


def _require_enough(study: Study, camera: str, images: int) -> None:
    settings = study.prnu
    if images < (needed := settings.estimation + settings.prediction + settings.evaluation):
        raise StudyError(
            f"camera '{camera}' has {images} photographs, but prnu asks for {settings.estimation} + "
            f"{settings.prediction} + {settings.evaluation} = {needed}: import more, or set smaller numbers under prnu"
        )


def _low_light_jobs(session: Session) -> list[LowLightJob]:
    """Of the first simulated camera, and of the real one in the folder that the study names."""
    study, settings = session.study, session.study.prnu.low_light
    simulated = [(camera.name, camera.simulate) for camera in study.cameras if camera.simulate is not None]
    sources: dict[str, Simulation | DarkFolders] = dict(simulated[:1])
    if settings.folder is not None:
        try:
            scenes = exposures.find(settings.folder)
            others = exposures.find(settings.others) if settings.others else []
            camera = RawFrame.open(scenes[0].long).camera
            folders = DarkFolders(
                folder=settings.folder,
                sha256=exposures.identity(scenes),
                others=settings.others,
                others_sha256=exposures.identity(others) if others else None,
            )
        except ValueError as error:
            raise StudyError(f"prnu.low_light: {error}") from None
        if len(scenes) < study.prnu.fewest_scenes:
            raise StudyError(
                f"prnu.low_light: {settings.folder} has {len(scenes)} scenes, but training: {settings.training}, "
                f"evaluation: {study.prnu.evaluation} and a fingerprint need {study.prnu.fewest_scenes}"
            )
        sources[camera] = folders
    pretraining = planned(study)[0].pretraining
    if settings.iterations is not None:
        pretraining = replace(pretraining, max_iterations=settings.iterations)
    return [
        LowLightJob.plan(
            camera=camera,
            source=source,
            pretraining=pretraining,
            settings=settings,
            pixels=study.prnu.pixels,
            evaluation=study.prnu.evaluation,
            seed=study.prnu.seed,
        )
        for camera, source in sources.items()
    ]


def _publish(session: Session, jobs: Sequence[FingerprintJob], dark: Sequence[LowLightJob]) -> Path:
    """The page, out of what the runs have kept."""
    runs = session.snapshot().by_key
    cameras: list[experiment.CameraResult] = []
    dark_results: list[lowlight.LowLight] = []
    lambdas: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:

        def kept(run: Run, name: str) -> str:
            return session.ask(lambda: session.client.download_artifacts(run.info.run_id, name, folder))

        for job in jobs:
            if job.key in runs and runs[job.key].info.status == "FINISHED":
                cameras.append(experiment.load(kept(runs[job.key], fingerprints.FILE)))
                lambdas |= {nip.name: nip.lam for nip in job.joint}
        for dark_job in dark:
            if dark_job.key in runs and runs[dark_job.key].info.status == "FINISHED":
                document = json.loads(Path(kept(runs[dark_job.key], low_light.FILE)).read_text())
                dark_results.append(lowlight.LowLight.from_json(document))
    notes = {"code": tracking.provenance()["git_revision"], "hardware": tracking.provenance()["hardware"]}
    folder_of_page = session.study.folder / "reports" / session.study.name
    simulated = [camera.name for camera in session.study.cameras if camera.simulate is not None]
    return page(session.study.name, cameras, dark_results, lambdas, folder_of_page, notes, simulated=simulated)
