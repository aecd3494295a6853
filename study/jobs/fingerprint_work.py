"""What is done for a job of the PRNU experiments: photographs are developed by every pipeline, and compared."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mlflow import MlflowClient
from torch import Tensor

import models
from cameras.develop import develop_libraw
from cameras.pairs import Index, Pairs
from cameras.scenes import scene_sources
from cameras.simulate import PRESETS, SimulatedCamera, prnu_pattern
from channel import Channel, encode
from channel.filters import average
from models.nip import NIP, develop
from prnu import experiment, exposures, lowlight
from prnu.experiment import DEVELOPED, RECEIVED, OtherCamera, Pipeline, Settings, Split, central_crop, split
from prnu.exposures import Exposures
from study.jobs import DarkFolders, FingerprintJob, LowLightJob
from study.settings import Fingerprints, Simulation
from study.storage import cache as staging
from study.storage.retry import patiently
from study.tracking import write_texts

Develop = Callable[[int], Tensor]
MARGIN = 32  # Bayer pixels that a NIP sees beyond the crop: more than any of its receptive fields' bulk


def fingerprints(job: FingerprintJob, on_step: Callable[[int], None], artifacts: Path) -> dict[str, float]:
    """Compare all pipelines on one camera; returns the figures that its run is found by.

    Raises:
        ValueError: data or NIPs are not those that the job was planned with.
    """
    pairs, files = _pairs(job, job.camera, job.data_fingerprint)
    nips = {nip.name: _pretrained_nip(job, nip.file, nip.sha256) for nip in job.pretrained}
    nips |= {nip.name: _joint_nip(job, nip.run_id) for nip in job.joint}
    own = _developments(pairs, files, nips, job)
    images = _split(pairs.names, job.settings)
    others = []
    for name, fingerprint in job.others.items():
        foreign, foreign_files = _pairs(job, name, fingerprint)
        developments = _developments(foreign, foreign_files, nips, job)
        shared = {pipeline: how for pipeline, how in developments.items() if pipeline in own}
        others.append(OtherCamera(name, shared, _strangers(foreign.names, pairs.names, images, job.settings)))
    settings = job.settings
    result = experiment.experiment(
        job.camera,
        [Pipeline(name, how) for name, how in own.items()],
        images,
        others,
        receive=partial(_received, Channel(job.channel.downsample, "none"), job.channel.codec),
        truth=_truth(job),
        settings=_sizes(settings),
        device=job.place.device,
        on_progress=lambda done, total: on_step(done * job.steps // total),
    )
    experiment.save(artifacts / "fingerprints.safetensors", result)
    # As in the paper, of the pipelines that were not trained jointly:
    P = len(own) - len(job.joint)
    correlations, f1 = result.correlations[:P, :P], result.mean_f1[:P, :P]
    figures = {"f1_matching": f1.diagonal().mean().item()}
    if P > 1:
        apart = ~torch.eye(P, dtype=torch.bool)
        figures["correlation"] = correlations[apart].quantile(0.5).item()
        figures["f1_mismatched"] = f1[apart].mean().item()
    return figures


def _split(names: Sequence[str], settings: Fingerprints) -> Split:
    return split(len(names), settings.estimation, settings.prediction, settings.evaluation, settings.seed)


def _strangers(names: Sequence[str], own_names: Sequence[str], own: Split, settings: Fingerprints) -> tuple[int, ...]:
    """Images of another camera, to be compared with the fingerprint of this one.

    Simulated cameras take the same scenes, numbered by their names, but are stored each in an order of its own: what
    the fingerprint was made of must not be asked for again, or the scene matches where the sensor does not. (Scenes
    that come back, because there are fewer photographs than pictures, are beyond this.)
    """
    seen = {sorted(own_names).index(own_names[i]) for i in own.estimation}
    others = [name for number, name in enumerate(sorted(names)) if number not in seen]
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(settings.seed))
    return tuple(names.index(others[i]) for i in order[: settings.evaluation])


def _sizes(settings: Fingerprints) -> Settings:
    return Settings(settings.pixels, settings.window, settings.stride, settings.forgery)


def _truth(job: FingerprintJob) -> dict[str, Tensor]:
    """The pattern of a simulated sensor, as it lies in photographs before and after the channel."""
    if job.simulation is None:
        return {}
    camera = PRESETS[job.simulation.preset]
    K = torch.from_numpy(prnu_pattern(camera, job.simulation.height, job.simulation.width))
    K = central_crop(K[None, None], job.settings.pixels)
    return {DEVELOPED: K[0, 0], RECEIVED: average(K, job.channel.downsample)[0, 0]}


def raw_files(index: Index) -> list[Path] | None:
    """The RAW files that a camera's pairs came from, in their order, where all of them are still there."""
    files = [Path(image.source.path) for image in index.images if image.source]
    return files if len(files) == len(index.images) and all(file.is_file() for file in files) else None


def _pairs(job: FingerprintJob, camera: str, fingerprint: str) -> tuple[Pairs, list[Path] | None]:
    """The pairs of a camera, and the RAW files that they came from where the job was planned with them."""
    folder = patiently(lambda: staging.camera(job.place, camera, fingerprint))
    pairs, index = Pairs.open(folder), Index.read(folder)
    if pairs.fingerprint != fingerprint:
        raise ValueError(f"the pairs of {camera} are not those that the job was planned with: run the study again")
    files = raw_files(index) if job.raw else None
    if job.raw and files is None:
        raise ValueError(
            f"the RAW files of {camera} are not on this machine as on the driver's, where they are imported"
        )
    return pairs, files


def _pretrained_nip(job: FingerprintJob, file: str, sha256: str) -> NIP:
    return models.load(patiently(lambda: staging.nip(job.place, file, sha256))).to(job.place.device)


def _joint_nip(job: FingerprintJob, run_id: str) -> NIP:
    client = MlflowClient(job.place.tracking_uri)
    with tempfile.TemporaryDirectory() as folder:
        return models.load(client.download_artifacts(run_id, "nip.safetensors", folder)).to(job.place.device)


def _developments(
    pairs: Pairs, files: list[Path] | None, nips: Mapping[str, NIP], job: FingerprintJob
) -> dict[str, Develop]:
    """How each pipeline develops image i, cut to what is examined: libraw first, if its files are there."""
    pixels = job.settings.pixels

    def libraw(i: int) -> Tensor:
        assert files is not None
        return central_crop(torch.from_numpy(develop_libraw(files[i])).movedim(-1, 0)[None], pixels)

    def standard(i: int) -> Tensor:
        return central_crop(pairs.image(i)[1], pixels)

    def neural(nip: NIP, i: int) -> Tensor:
        """The crop alone, and a margin around it: a whole photograph of 24 Mpx would take minutes."""
        bayer, target = pairs.image(i)
        if nip.reads == "target":
            return central_crop(develop(nip, target, "float32"), pixels)
        top, left, height, width = (
            side // 2 for side in experiment.crop_box(target.shape[-2], target.shape[-1], pixels)
        )
        above, before = min(MARGIN, top), min(MARGIN, left)
        part = bayer[..., top - above : top + height + MARGIN, left - before : left + width + MARGIN]
        developed = develop(nip, part.to(job.place.device), "float32")
        return developed[..., 2 * above :, 2 * before :][..., : 2 * height, : 2 * width]

    how: dict[str, Develop] = {"libraw": libraw} if files else {}
    return how | {"standard": standard} | {name: partial(neural, nip.eval()) for name, nip in nips.items()}


def _received(channel: Channel, codec: str, photograph: Tensor) -> Tensor:
    """What arrives of a photograph (1, 3, h, w) in [0, 1]: shrunk, and behind the real encoder of the codec's name."""
    shrunk = channel(photograph)
    if codec == "none":
        return shrunk
    pixels = (shrunk * 255).round().clamp(0, 255).to(torch.uint8)
    return encode(pixels, codec).to(shrunk.device, torch.float32) / 255


# --- Low light ---


def low_light(job: LowLightJob, on_step: Callable[[int], None], artifacts: Path) -> dict[str, float]:
    """Table 3 of the paper for one camera: scenes that it takes long and short.

    Returns the average PCE by pipeline.

    Raises:
        ValueError: files are not those that the job was planned with, or do not fit each other.
    """
    training, iterations = job.settings.training, job.pretraining.max_iterations
    with tempfile.TemporaryDirectory() as folder:
        scenes, foreign = _scenes(job, Path(folder))
        examined = scenes[training:]
        images = split(len(examined), len(examined) - job.evaluation, 0, job.evaluation, job.seed)
        strangers = foreign(images.evaluation)
        exposures.check(scenes, strangers, job.pixels)
        learnt = lowlight.learn(
            scenes[:training], max(1, training // 5), job.pretraining, job.pixels, job.place.device, on_step
        )

        def develop(scenes: Sequence[Exposures]) -> list[Pipeline]:
            return lowlight.pipelines(scenes, learnt.nip, job.pixels, job.place.device)

        others = {pipeline.name: pipeline.develop for pipeline in develop(strangers)}
        result = lowlight.low_light(
            job.camera,
            develop(examined),
            images,
            [OtherCamera("another camera", others, tuple(range(len(strangers))))],
            Settings(job.pixels),
            job.place.device,
            lambda done, total: on_step(iterations + done * job.photographs // total),
        )
    write_texts(artifacts, {"low_light.json": result.to_json()})
    models.save(artifacts / "nip.safetensors", learnt.nip)
    names = ("pce_libraw_long", "pce_libraw_short", "pce_unet_short")
    return dict(zip(names, result.average_pce, strict=True))


Foreign = Callable[[Sequence[int]], list[Exposures]]


def _scenes(job: LowLightJob, folder: Path) -> tuple[list[Exposures], Foreign]:
    """The scenes of the job's camera, and how to get those that another camera took.

    Another real camera has scenes of its own. Another simulated one is another body of the same model, and takes the
    scenes that the fingerprint is tried on.
    """
    source, count = job.source, job.settings.scenes
    if isinstance(source, DarkFolders):
        known, foreign = (
            _planned(*there) for there in ((source.folder, source.sha256), (source.others, source.others_sha256))
        )
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(job.seed)).tolist()
        return [known[i] for i in order[:count]], lambda images: foreign[: len(images)]
    camera = PRESETS[source.preset]
    stranger = replace(camera, body=camera.body + 1)
    mine = [_taken(camera, source, number, folder / "own", job.settings.exposure) for number in range(count)]
    return mine, lambda images: [
        _taken(stranger, source, job.settings.training + i, folder / "other", job.settings.exposure) for i in images
    ]


def _planned(folder: Path | None, sha256: str | None) -> list[Exposures]:
    """The scenes in a folder, if there is one."""
    if folder is None:
        return []
    found = exposures.find(folder)
    if exposures.identity(found) != sha256:
        raise ValueError(f"the files in {folder} are not those that the job was planned with")
    return found


def _taken(camera: SimulatedCamera, simulation: Simulation, number: int, folder: Path, exposure: float) -> Exposures:
    """A scene of its own, that no other experiment has seen."""
    sources = list(scene_sources(simulation.scenes).values())
    seed = (simulation.seed, 1, number)
    scene = sources[number % len(sources)](simulation.height, simulation.width, np.random.default_rng(seed))
    rng = np.random.default_rng((*seed, *camera.identity))
    return exposures.take(camera, scene, folder, f"{number:04d}", rng, exposure)
