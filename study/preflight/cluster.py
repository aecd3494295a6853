"""The machines that jobs run on, those that may still start, and whether a job fits on any of them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from study.execution.ray_folder import ray_folder
from study.preflight.cards import Card, card_of
from study.settings import Resources, StudyError

SHARES = 10_000  # of a GPU: the smallest that Ray counts is one
BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")  # `ray up` leaves it on the head: the nodes that may be started


@dataclass(frozen=True)
class Node:
    """A machine, by its address and Ray's ``id``; or one that the autoscaler may start, by its type and without id.

    ``card`` is what the cluster file lets a node that may start have; running nodes tell theirs when they are asked.
    """

    name: str
    id: str
    cpus: float
    gpus: float
    card: Card | None = None

    def slots(self, resources: Resources) -> int:
        """Jobs that it runs at the same time. A job's share of a GPU lies on one card."""
        slots = int(self.cpus // resources.cpus)
        if not resources.gpus:
            return slots
        a_card = SHARES // max(round(resources.gpus * SHARES), 1)  # 1 // 0.1 is 9
        return min(slots, int(self.gpus) * a_card)


def nodes_at(address: str) -> tuple[list[Node], list[Node]]:
    """The nodes of the cluster, and those that its autoscaler may start.

    Raises:
        StudyError: there is no such cluster.
    """
    if address == "local":
        ray_folder()  # else Ray would fail only after the data were made
        return [this_machine()], []
    from study.execution import scheduler  # imports Ray

    scheduler.connect(address)
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    addresses = [node["NodeManagerAddress"] for node in alive]
    nodes = []
    for node, name in zip(alive, addresses, strict=True):
        if addresses.count(name) > 1:
            name = f"{name} ({node['NodeID'][:6]})"
        has = node["Resources"]
        nodes.append(Node(name, node["NodeID"], has.get("CPU", 0), has.get("GPU", 0)))
    return nodes, startable()


def this_machine() -> Node:
    """All of this machine."""
    return Node("this machine", "alone", os.cpu_count() or 1, torch.cuda.device_count())


def startable() -> list[Node]:
    """Nodes that the autoscaler may start, as far as this machine knows: where it is the head of ``ray up``."""
    path = Path(os.path.expanduser(BOOTSTRAP))  # noqa: PTH111 (Path.expanduser raises an error without a home folder)
    if not path.is_file():
        return []
    config = yaml.safe_load(path.read_text("utf-8"))
    nodes = []
    for name, kind in config.get("available_node_types", {}).items():
        has = kind.get("resources") or {}
        count = kind.get("max_workers", config.get("max_workers", 0)) if name != config.get("head_node_type") else 0
        card = card_of(kind.get("node_config") or {})
        nodes += [Node(name, "", has.get("CPU", 0), has.get("GPU", 0), card)] * count
    return nodes


def require_room(resources: Resources, nodes: Sequence[Node], may_start: Sequence[Node]) -> str:
    """Say where a job fits.

    Raises:
        StudyError: it fits on no node, not even on one that may start.
    """
    needed = f"CPUs: {resources.cpus}" + (f", GPUs: {resources.gpus:g}" if resources.gpus else "")
    fit = [node for node in nodes if node.slots(resources)]
    if fit:
        slots = sum(node.slots(resources) for node in fit)
        return f"jobs at a time: {slots} ({needed} each), on {len(fit)} of {len(nodes)} nodes"
    kinds = {node.name for node in may_start if node.slots(resources)}
    if kinds:
        return f"no node for jobs yet; the cluster may start nodes of type {', '.join(sorted(kinds))}"
    known = [node for node in (*nodes, *may_start) if node.cpus]
    if not known or any(not node.cpus for node in may_start):  # Ray finds out their resources when they start
        return f"no node for jobs yet; the cluster must start some that fit a job ({needed})"
    best = max(known, key=lambda node: (node.gpus, node.cpus))
    remedy = "resources.gpus: 0 trains on CPUs" if resources.gpus > best.gpus else "ask for less under resources"
    raise StudyError(
        f"no node fits a job ({needed}), not even {best.name} (CPUs: {best.cpus:g}, GPUs: {best.gpus:g}): {remedy}"
    )
