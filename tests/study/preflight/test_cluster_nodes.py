"""What nodes a cluster has or may start, and how many jobs run there."""

from pathlib import Path

import pytest
import yaml

from study.preflight import cluster
from study.preflight.cards import CARDS
from study.preflight.cluster import Node
from study.settings import Resources, StudyError


@pytest.mark.parametrize(
    ("asked", "nodes", "startable", "expected"),
    [
        ({"cpus": 2}, [(4, 0), (0, 0)], [], "jobs at a time: 2 (CPUs: 2 each), on 1 of 2 nodes"),
        (
            {"cpus": 2, "gpus": 0.25},
            [(4, 0), (64, 2)],
            [],
            "jobs at a time: 8 (CPUs: 2, GPUs: 0.25 each), on 1 of 2 nodes",
        ),
        ({"gpus": 0.1}, [(64, 1)], [], "jobs at a time: 10 "),
        ({"gpus": 0.3}, [(64, 2)], [], "jobs at a time: 6 "),
        ({"gpus": 1}, [(0, 0)], [(8, 1), (8, 1)], "no node for jobs yet; the cluster may start nodes of type spot"),
        ({"gpus": 1}, [(0, 0)], [], "no node for jobs yet; the cluster must start some"),
        ({"gpus": 1}, [(4, 0)], [(0, 0)], "no node for jobs yet; the cluster must start some"),
        ({"gpus": 1}, [(0, 0)], [(8, 0)], "not even spot (CPUs: 8, GPUs: 0): resources.gpus: 0 trains on CPUs"),
        ({"cpus": 8}, [(4, 0), (2, 0)], [], "not even node 0 (CPUs: 4, GPUs: 0): ask for less"),
        ({"gpus": 0.5}, [(4, 0)], [], "resources.gpus: 0 trains on CPUs"),
        ({"cpus": 4, "gpus": 1}, [(16, 0), (2, 1)], [(8, 0)], "not even node 1 (CPUs: 2, GPUs: 1): ask for less"),
    ],
)
def test_hardware(
    asked: dict[str, float], nodes: list[tuple[int, int]], startable: list[tuple[int, int]], expected: str
) -> None:
    resources = Resources(**asked)
    present = [Node(f"node {number}", "", *has) for number, has in enumerate(nodes)]
    possible = [Node("spot", "", *has) for has in startable]
    if "not even" in expected or "trains" in expected:
        with pytest.raises(StudyError) as error:
            cluster.require_room(resources, present, possible)
        assert expected in str(error.value)
    else:
        assert cluster.require_room(resources, present, possible).startswith(expected)


def test_what_the_autoscaler_may_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "BOOTSTRAP", tmp_path / "bootstrap.yaml")
    assert cluster.startable() == []
    kinds = {
        "head": {"resources": {"CPU": 0}, "max_workers": 1},
        "spot": {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 2},
    }
    content = {"head_node_type": "head", "max_workers": 4, "available_node_types": kinds}
    (tmp_path / "bootstrap.yaml").write_text(yaml.safe_dump(content))
    assert cluster.startable() == [Node("spot", "", 8, 1)] * 2
    content["available_node_types"]["spot"]["node_config"] = {"InstanceType": "g6.2xlarge"}  # type: ignore[index]
    (tmp_path / "bootstrap.yaml").write_text(yaml.safe_dump(content))
    assert cluster.startable() == [Node("spot", "", 8, 1, CARDS["L4"])] * 2
