"""The PRNU experiments of a study (section 3.3 of the paper): jobs that are scheduled and tracked like its trials."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cameras.raw import RawFrame
from forensics.trial import Distribution
from models.registry import NIPS, pretrained_as
from prnu import experiment, exposures, lowlight
from study import tracking
from study.execution.driver import Preflight, Session, at_work, stage
from study.jobs import Job, fingerprints, low_light
from study.jobs.fingerprints import FingerprintJob, JointNip, PretrainedNip
from study.jobs.low_light import DarkFolders, LowLightJob
from study.jobs.pretraining import NIP_HASH, PretrainingJob
from study.jobs.trial import TrialJob
from study.report.fingerprint_page import page
from study.settings import Simulation, Study, StudyError, planned, user_errors


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
        failures = stage("pre-training and low light", session, [*grid.before_trials, *further, *dark])
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
    return [
        PretrainingJob.plan(
            job.camera, job.isp, job.split, replace(job.pretraining, seed=job.pretraining.seed + seed), job.data_hash
        )
        for job in sorted(learned, key=lambda job: list(NIPS).index(job.isp))[:1]
        for seed in range(1, session.study.prnu.instances)
    ]


def _is_learned(isp: str) -> bool:
    """Whether a NIP learns to develop, whatever its start; those are examined."""
    return not NIPS[isp].starts_as_standard


def _joint_trials(session: Session) -> list[TrialJob]:
    """Of every camera, learned NIP and λ, the joint trial of the first seed and of the first value of further axes."""
    trials: dict[tuple[str, str, float | str], TrialJob] = {}
    for job in session.grid().ready:
        trial = job.trial
        if trial.joint and _is_learned(trial.isp) and trial.seed == session.study.seeds[0]:
            trials.setdefault((trial.camera, trial.isp, trial.lam), job)
    return list(trials.values())


def _fingerprint_jobs(
    session: Session, further: Sequence[PretrainingJob], trials: Sequence[TrialJob]
) -> list[FingerprintJob]:
    snapshot, settings = session.snapshot(), session.study.prnu
    finished, ready = snapshot.finished, session.grid(snapshot).ready
    hashes = {name: index.data_hash for name, index in session.cameras.items()}
    jobs = []
    for camera in session.study.cameras:
        names = session.cameras[camera.name].names
        with user_errors(f"camera '{camera.name}', prnu: "):
            experiment.split(names, settings.estimation, settings.prediction, settings.evaluation)
        pretrained = {
            job.nip: PretrainedNip(name=pretrained_as(job.trial.isp), file=job.nip, sha256=job.nip_sha256)
            for job in ready
            if job.trial.camera == camera.name
        }
        for number, job in enumerate(further, start=2):
            if job.camera == camera.name and job.key in finished:
                pretrained[job.weights] = PretrainedNip(
                    name=f"{job.isp} {number}", file=job.weights, sha256=finished[job.key].data.tags[NIP_HASH]
                )
        joint = [
            JointNip(
                name=f"{job.trial.isp} λ={job.trial.lam:g}",
                lam=float(job.trial.lam),
                trial_key=job.key,
                run_id=finished[job.key].info.run_id,
            )
            for job in trials
            if job.trial.camera == camera.name and job.key in finished
        ]
        fingerprint_job = FingerprintJob.plan(
            camera=camera.name,
            simulation=camera.simulate,
            data_hash=hashes[camera.name],
            others={other: data_hash for other, data_hash in hashes.items() if other != camera.name},
            pretrained=tuple(pretrained.values()),
            joint=tuple(joint),
            settings=settings,
            channel=_channel(session.study),
        )
        jobs.append(fingerprint_job)
    return jobs


def _channel(study: Study) -> Distribution:
    """What photographs go through: the first channel that draws nothing and learns nothing; else the paper's.

    The weights of a codec that learns are a trial's own, and fingerprints are not those of a trial.
    """
    channels = (item.trial.channel for item in planned(study))
    fixed = (channel for channel in channels if not channel.build().random and channel.learning_codec is None)
    return next(fixed, Distribution())


def _low_light_jobs(session: Session) -> list[LowLightJob]:
    """Of the first simulated camera, and of the real one in the folder that the study names."""
    study, settings = session.study, session.study.prnu.low_light
    simulated = [(camera.name, camera.simulate) for camera in study.cameras if camera.simulate is not None]
    sources: dict[str, Simulation | DarkFolders] = dict(simulated[:1])
    if settings.folder is not None:
        with user_errors("prnu.low_light: "):
            scenes = exposures.find(settings.folder)
            others = exposures.find(settings.others) if settings.others else []
            sources[RawFrame.open(scenes[0].long).camera] = DarkFolders(
                folder=settings.folder,
                sha256=exposures.identity(scenes),
                others=settings.others,
                others_sha256=exposures.identity(others) if others else None,
            )
        if len(scenes) < study.prnu.fewest_scenes:
            raise StudyError(
                f"prnu.low_light: {settings.folder} has {len(scenes)} scenes, but training: {settings.training}, "
                f"evaluation: {study.prnu.evaluation} and a fingerprint need {study.prnu.fewest_scenes}"
            )
    pretraining = planned(study)[0].pretraining
    if settings.iterations is not None:
        pretraining = replace(pretraining, max_iterations=settings.iterations)
    shared = {"pretraining": pretraining, "settings": settings}
    shared |= study.prnu.model_dump(include={"pixels", "evaluation", "seed"})
    return [LowLightJob.plan(camera=camera, source=source, **shared) for camera, source in sources.items()]


def _publish(session: Session, jobs: Sequence[FingerprintJob], dark: Sequence[LowLightJob]) -> Path:
    """The page, out of what the runs have kept."""
    study, finished = session.study, session.snapshot().finished
    jobs = [job for job in jobs if job.key in finished]
    with tempfile.TemporaryDirectory() as folder:

        def kept(job: Job, name: str) -> str:
            run_id = finished[job.key].info.run_id
            return session.ask(lambda: session.client.download_artifacts(run_id, name, folder))

        cameras = [experiment.load(kept(job, fingerprints.FILE)) for job in jobs]
        texts = [Path(kept(job, low_light.FILE)).read_text() for job in dark if job.key in finished]
    return page(
        study.name,
        cameras,
        [lowlight.LowLight.from_json(json.loads(text)) for text in texts],
        {nip.name: nip.lam for job in jobs for nip in job.joint},
        study.folder / "reports" / study.name,
        {"code": tracking.provenance()["git_revision"], "hardware": tracking.provenance()["hardware"]},
        simulated=[camera.name for camera in study.cameras if camera.simulate is not None],
    )
