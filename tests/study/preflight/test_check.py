"""What a study needs is there, or one line says what is not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from checked_study import HERE, L4, STUDY, T4, THERE, WANTED, damage, fault, faults, remark, study_in
from typer.testing import CliRunner

from study import tracking
from study.commands.app import app
from study.preflight import check as checks
from study.preflight import node_probe
from study.preflight.cards import CARDS
from study.preflight.check import check
from study.preflight.cluster import Node
from study.preflight.findings import Finding
from study.preflight.gpu_probe import fits
from study.preflight.node_probe import Question, probe
from study.settings import Resources, Study, StudyError
from study.storage import Storage

# --- All of it ---


def test_a_study_that_is_whole_has_no_fault_and_stays_as_it_is(study: Study) -> None:
    before = sorted(path for path in study.folder.parent.rglob("*"))
    findings = check(study)
    assert faults(findings) == {}
    whats = {finding.what for finding in findings}
    assert whats == {"cluster", "data of little", "pre-trained NIPs", "storage", "tracking", "versions", "disk space"}
    assert remark(findings, "pre-trained NIPs") == "1 of 1"
    assert "checksums right" in remark(findings, "data of little")
    assert sorted(path for path in study.folder.parent.rglob("*")) == before
    client, experiment_id = tracking.connect(study)
    assert not client.search_runs([experiment_id], "tags.kind = 'check'")


def test_a_study_of_simulated_cameras_lacks_nothing_before_it_begins(tmp_path: Path) -> None:
    camera = {"name": "new", "simulate": {"preset": "sim-rggb", "images": 3}}
    findings = check(study_in(tmp_path / "new", cameras=[camera]))
    assert faults(findings) == {}
    assert remark(findings, "data of new") == "3 pictures will be simulated"
    assert not list(tmp_path.rglob("*.*")), "looking makes no database"


def test_pictures_that_are_still_to_be_taken_are_no_fault(study: Study) -> None:
    camera = {"name": "little", "simulate": {"preset": "sim-rggb", "images": 5}}
    findings = check(study_in(study.folder, cameras=[camera], split={"train": 3, "validation": 2}))
    assert faults(findings) == {}
    assert remark(findings, "data of little").startswith("3 of 5 pictures")


# --- Data and NIPs ---


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("index.json", lambda content: content.clear(), "index.json is damaged"),
        ("bayer.u16", lambda content: content.pop(), "bayer.u16 holds 18431 of the 18432 bytes"),
        ("target.u8", lambda content: content.clear(), "target.u8 holds 0 of the 27648 bytes"),
    ],
)
def test_data_that_are_not_whole_are_a_fault(
    study: Study, file: str, change: Callable[[bytearray], object], expected: str
) -> None:
    damage(study.folder / "cameras" / "little" / file, change)
    assert expected in fault(check(study, thorough=False))


def test_changed_data_are_a_fault_for_those_who_look_closely(study: Study) -> None:
    damage(study.folder / "cameras" / "little" / "target.u8", lambda content: content.__setitem__(-1, content[-1] ^ 1))
    assert faults(check(study, thorough=False)) == {}
    assert "image 2 is damaged" in fault(check(study))


def test_data_in_a_bucket_are_looked_at_closely(study: Study, bucket: Storage, tmp_path: Path) -> None:
    folder = study.folder / "cameras" / "little"
    resources = study.resources.model_copy(update={"cache": tmp_path / "cache"})
    uri = tracking.tracking_uri(study)
    study = study.model_copy(update={"storage": bucket.uri, "tracking_uri": uri, "resources": resources})
    for file in folder.iterdir():
        bucket.upload(file, f"cameras/little/{file.name}")
    assert "checksums right" in remark(check(study), "data of little")
    assert not list((tmp_path / "cache").iterdir())
    damage(folder / "target.u8", lambda content: content.__setitem__(-1, content[-1] ^ 1))
    bucket.upload(folder / "target.u8", "cameras/little/target.u8")
    assert "image 2 is damaged" in faults(check(study))["data of little"]


def test_every_camera_has_its_own_line(study: Study) -> None:
    study = study_in(study.folder, cameras=["absent", "little"], split={"train": 3, "validation": 3})
    found = faults(check(study, thorough=False))
    assert "import --camera 'absent'" in found["data of absent"]
    assert "asks for 3 + 3 images, but there are only 3" in found["data of little"]


@pytest.mark.parametrize("state", ["damaged", "missing"])
def test_a_nip_is_fetched_again_as_long_as_its_run_holds_it(study: Study, state: str) -> None:
    (weights,) = (study.folder / "nips").iterdir()
    if state == "damaged":
        damage(weights, lambda content: content.pop())
    else:
        weights.unlink()
    findings = check(study, thorough=False)
    assert faults(findings) == {}
    assert "1 missing or damaged" in remark(findings, "pre-trained NIPs")

    client, experiment_id = tracking.connect(study)
    kept = client.create_run(experiment_id, tags=client.search_runs([experiment_id])[0].data.tags)
    client.delete_run(client.search_runs([experiment_id], "attributes.status = 'FINISHED'")[0].info.run_id)
    client.set_terminated(kept.info.run_id)
    found = fault(check(study, thorough=False))
    assert f"{weights} is {state}" in found
    assert kept.info.run_id in found


# --- Nodes ---


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of two, asked in this process."""
    monkeypatch.setattr(checks, "nodes_at", lambda address: ([HERE, THERE], []))
    monkeypatch.setattr(checks, "probe_cluster", lambda nodes, question: [f for n in nodes for f in probe(n, question)])


@pytest.mark.usefixtures("two_nodes")
def test_sqlite_is_for_one_machine(study: Study) -> None:
    findings = check(study, "auto", thorough=False)
    assert "mlflow server" in fault(findings)
    assert ("storage", "2 of 2 nodes") in {(finding.what, finding.node) for finding in findings}, "one line for both"


@pytest.mark.usefixtures("two_nodes")
def test_the_driver_must_see_what_a_node_writes(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a node had a copy of the folder, and not the folder."""
    write = node_probe.write_and_read

    def swallowed(storage: Storage, name: str, content: str) -> None:
        if not name.endswith(THERE.id):
            write(storage, name, content)

    monkeypatch.setattr(node_probe, "write_and_read", swallowed)
    findings = check(study, "auto", thorough=False)
    assert "the driver does not see" in faults(findings)["storage"]
    assert {finding.node for finding in findings if finding.what == "storage"} == {"1 of 2 nodes", THERE.name}


def test_a_cluster_that_is_not_there_is_a_fault(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str) -> None:
        raise StudyError(f"no Ray cluster at '{address}'")

    monkeypatch.setattr(checks, "nodes_at", refuse)
    assert fault(check(study, "10.0.0.9:6379", thorough=False)) == "no Ray cluster at '10.0.0.9:6379'"


# --- GPUs ---


@pytest.fixture
def on_gpus(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """A cluster of two nodes with an L4 each, that may start another; what they are asked."""
    questions: list[Question] = []

    def answer(nodes: Sequence[Node], question: Question) -> list[Finding]:
        questions.append(question)
        assert question.gpu is not None
        return [
            f for node in nodes for f in fits(question.gpu.needs, CARDS["L4"], question.gpu.context.gpus, node.name)
        ]

    nodes = [replace(node, gpus=1) for node in (HERE, THERE)]
    monkeypatch.setattr(checks, "nodes_at", lambda address: (nodes, [Node("spot", "", 8, 1, CARDS["T4"])] * 3))
    monkeypatch.setattr(checks, "needs", lambda planned: list(WANTED.needs))
    monkeypatch.setattr(checks, "probe_cluster", answer)
    return questions


def test_one_line_a_nip_for_all_nodes_with_the_same_card(study: Study, on_gpus: list[Question]) -> None:
    study = study.model_copy(update={"resources": Resources(gpus=0.25, deterministic=False)})
    findings = [found for found in check(study, "auto", thorough=False) if found.what.startswith("memory")]
    given = "3 GB of the {} GB that 0.25 of one {} gives; resources.gpus: {} would fit {} jobs"
    assert findings == [
        Finding(f"memory for INet on {T4}", "spot (may start)", remark=given.format(3.9, T4, 0.2, 5)),
        Finding(f"memory for INet on {L4}", "2 of 2 nodes", remark=given.format(5.9, L4, 0.14, 7)),
    ]
    (question,) = on_gpus
    assert question.gpu is not None
    assert question.gpu.largest.isp == "INet"
    context = question.gpu.context
    assert (context.device, context.gpus, context.deterministic) == ("cuda", 0.25, False)


@pytest.mark.usefixtures("on_gpus")
def test_nodes_with_several_cards_count_once(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        checks, "probe_cluster", lambda nodes, question: [Finding("training", n.name) for n in nodes * 4]
    )
    study = study.model_copy(update={"resources": Resources(gpus=0.25)})
    assert [found.node for found in check(study, "auto", thorough=False) if found.what == "training"] == [
        "2 of 2 nodes"
    ]


@pytest.mark.usefixtures("on_gpus")
def test_a_job_that_does_not_fit_is_a_fault_before_anything_runs(study: Study) -> None:
    study = study.model_copy(update={"resources": Resources(gpus=0.15)})
    found = faults(check(study, "auto", thorough=False))
    assert "set resources.gpus to 0.2 (at most 5 at a time)" in found[f"memory for INet on {T4}"]
    assert f"memory for INet on {L4}" not in found


def test_a_card_that_the_cluster_file_does_not_tell_is_named(
    study: Study, on_gpus: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "nodes_at", lambda address: ([], [Node("spot", "", 8, 1)]))
    study = study.model_copy(update={"resources": Resources(gpus=0.25)})
    assert "check again once such a node runs" in remark(check(study, "auto", thorough=False), "memory")


def test_the_command_names_every_fault_and_ends_with_2(pristine: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**STUDY, "cameras": ["little", "absent"]}))
    asked = CliRunner().invoke(app, ["check", str(tmp_path / "study.yaml"), "--storage", str(pristine)])
    assert asked.exit_code == 2, asked.output
    assert asked.stderr.count("fault:") == 1
    assert "camera 'absent' is not in" in asked.stderr
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    asked = CliRunner().invoke(app, ["check", str(tmp_path / "study.yaml"), "--storage", str(pristine)])
    assert asked.exit_code == 0, asked.output
