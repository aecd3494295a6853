"""The cluster files, held against what Ray itself makes of them. No cloud is asked: a stand-in answers for AWS."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from study.preflight.cards import CARDS, Card, Need, card_of, fit, needs
from study.preflight.cluster import Node
from study.settings import Resources, StudyError, load_study, planned

ROOT = Path(__file__).resolve().parents[1]
CLOUDS = ["cluster.yaml", "cluster-gcp.yaml"]
FILES = [*CLOUDS, "cluster-own-machines.yaml"]
COMMANDS = ["setup_commands", "head_setup_commands", "worker_setup_commands"]
STARTS = ["head_start_ray_commands", "worker_start_ray_commands"]

Config = dict[str, Any]


def load(name: str) -> Config:
    return yaml.safe_load((ROOT / name).read_text())


def start(config: Config, section: str) -> str:
    """The command that starts Ray's processes on a node."""
    (command,) = [command for command in config[section] if "ray start" in command]
    return command


@pytest.fixture(params=FILES)
def config(request: pytest.FixtureRequest) -> Config:
    """A file after Ray has filled in its defaults, as ``ray up`` does first."""
    return prepare_config(load(request.param))


@pytest.mark.parametrize("name", FILES)
def test_ray_takes_the_file(name: str) -> None:
    config = prepare_config(load(name))
    validate_config(config)
    json.dumps(config)  # what the head is given


@pytest.mark.parametrize("name", FILES)
def test_ray_refuses_the_file_once_it_is_spoilt(name: str) -> None:
    config = prepare_config(load(name) | {"setup_comands": []})
    with pytest.raises(Exception, match="setup_comands"):
        validate_config(config)


def test_commands_are_sound_shell(config: Config) -> None:
    for section in COMMANDS + STARTS:
        for command in config[section]:
            subprocess.run(["bash", "-n", "-c", command], check=True)


def test_nothing_but_pinned_releases_is_installed(config: Config) -> None:
    commands = [command for section in COMMANDS for command in config[section]]
    installs = [command for command in commands if "pip install" in command]
    assert any("-r ~/imaging-pipelines/requirements.txt" in command for command in installs)
    assert not re.search(r"\.whl|https?:|git\+|latest|--pre", "".join(commands))
    for command in installs:
        for package in command.split("pip install")[1].replace("--quiet", "").split("#")[0].split():
            assert package in ("-r", "~/imaging-pipelines/requirements.txt") or re.fullmatch(r"[\w-]+==[\d.]+", package)
    assert config["file_mounts"]["~/imaging-pipelines/requirements.txt"] == "requirements.txt"


def test_every_requirement_is_pinned_in_one_place() -> None:
    files = (ROOT / "requirements.txt", ROOT / "requirements-test.txt")
    lines = [line.split("#")[0].strip() for file in files for line in file.read_text().splitlines()]
    pins = [re.fullmatch(r"([\w.-]+)(\[[\w,-]+\])?==[\w.]+", line) for line in lines if line]
    names = [pin[1].lower() for pin in pins if pin]
    assert len(set(names)) == len(names) == len(pins)


def test_one_token_reaches_all_nodes_and_ray_asks_for_it(config: Config) -> None:
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any(re.match(r"chmod 600 .*~/\.ray/auth_token", command) for command in config["setup_commands"])
    for section in STARTS:
        assert "RAY_AUTH_MODE=token" in start(config, section).split("ray start")[0]


def test_dashboard_listens_on_loopback_alone(config: Config) -> None:
    assert "--dashboard-host=127.0.0.1" in start(config, "head_start_ray_commands")
    assert not any("0.0.0.0" in command for section in STARTS for command in config[section])


def test_mlflow_listens_on_the_private_address_and_to_known_names(config: Config) -> None:
    (command,) = [command for command in config["head_start_ray_commands"] if "mlflow server" in command]
    options = dict(re.findall(r"--([a-z-]+) ([^\s;]+)", command))
    assert options["host"] == "$ADDRESS"
    assert options["allowed-hosts"].split(",") == ["localhost:5000", "127.0.0.1:5000", "$ADDRESS:5000"]
    assert options["workers"] == "2"
    assert options["backend-store-uri"].startswith("sqlite:///$HOME/")
    assert "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false" in command
    assert "while true" in command and "flock" in command, "it is started again, but never twice"
    assert "disable-security" not in command


def test_jobs_and_workers_know_the_tracking_server(config: Config) -> None:
    assert "MLFLOW_TRACKING_URI=http://$ADDRESS:5000" in start(config, "head_start_ray_commands")
    assert "MLFLOW_TRACKING_URI=http://$RAY_HEAD_IP:5000" in start(config, "worker_start_ray_commands")
    assert "--address=$RAY_HEAD_IP:6379" in start(config, "worker_start_ray_commands")


@pytest.mark.parametrize("name", FILES)
def test_no_deprecated_fields(name: str) -> None:
    assert not {"head_node", "worker_nodes", "min_workers", "docker"} & set(load(name))


@pytest.mark.parametrize("name", CLOUDS)
def test_the_head_runs_no_trials_and_workers_come_and_go(name: str) -> None:
    config = prepare_config(load(name))
    types = config["available_node_types"]
    assert config["head_node_type"] == "head"
    assert types["head"]["resources"] == {"CPU": 0, "GPU": 0}
    assert types["head"]["max_workers"] == 0
    assert types["gpu"]["min_workers"] == 0
    assert types["gpu"]["max_workers"] == config["max_workers"] > 0
    assert types["gpu"]["resources"]["GPU"] >= 1
    assert 0 < config["idle_timeout_minutes"] <= 15
    for node in types.values():
        assert all(type(amount) is int for amount in node["resources"].values())


def test_the_head_of_own_machines_runs_no_trials_either() -> None:
    config = prepare_config(load("cluster-own-machines.yaml"))
    assert {"--num-cpus=0", "--num-gpus=0"} <= set(start(config, "head_start_ray_commands").split())
    assert not any("--num-" in command for command in config["worker_start_ray_commands"])
    (machine,) = config["available_node_types"].values()
    assert machine["min_workers"] == machine["max_workers"] == len(config["provider"]["worker_ips"])


@pytest.fixture
def amazon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """cluster.yaml as `ray up` has resolved it: with subnets, a key pair and a security group."""
    import boto3  # only the head of a cluster on AWS needs it
    from moto import mock_aws
    from ray.autoscaler._private.aws.config import bootstrap_aws

    monkeypatch.setenv("HOME", str(tmp_path))  # where Ray puts the key pair that it makes
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    config = prepare_config(load("cluster.yaml"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", config["provider"]["region"])
    with mock_aws():
        for node in config["available_node_types"].values():
            boto3.client("iam").create_instance_profile(
                InstanceProfileName=node["node_config"]["IamInstanceProfile"]["Name"]
            )
        yield bootstrap_aws(config)


def test_aws_lets_nobody_in_but_by_ssh(amazon: Config) -> None:
    import boto3

    groups = {
        group for node in amazon["available_node_types"].values() for group in node["node_config"]["SecurityGroupIds"]
    }
    rules = [rule for group in groups for rule in boto3.resource("ec2").SecurityGroup(group).ip_permissions]
    from_outside = [rule for rule in rules if rule["IpRanges"] or rule["Ipv6Ranges"] or rule["PrefixListIds"]]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in from_outside] == [(22, 22)]


def test_aws_workers_are_spot_instances_and_the_head_keeps_its_disk(amazon: Config) -> None:
    import boto3
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    provider = AWSNodeProvider(amazon["provider"], amazon["cluster_name"])
    instances = {}
    for kind, node in amazon["available_node_types"].items():
        tags = {"ray-node-type": kind, "ray-user-node-type": kind, "ray-node-name": kind, "ray-launch-config": kind}
        (instances[kind],) = provider.create_node(dict(node["node_config"]), tags, 1)
    found = {kind: boto3.resource("ec2").Instance(name) for kind, name in instances.items()}
    assert found["head"].instance_lifecycle is None
    assert found["gpu"].instance_lifecycle == "spot"
    provider.non_terminated_nodes({})
    provider.terminate_nodes([instances["head"]])  # as `ray down` does
    found["head"].reload()
    assert found["head"].state["Name"] == "stopped"
    (disk,) = found["head"].block_device_mappings
    assert disk["Ebs"]["DeleteOnTermination"] is False


def test_google_workers_are_spot_instances_and_the_head_stays() -> None:
    config = load("cluster-gcp.yaml")
    head, worker = (config["available_node_types"][kind]["node_config"] for kind in ("head", "gpu"))
    assert worker["scheduling"]["provisioningModel"] == "SPOT"
    assert "scheduling" not in head
    assert config["provider"]["cache_stopped_nodes"] is True
    assert head["disks"][0]["autoDelete"] is False, "MLflow's figures lie on it"


# --- Do the presets' trials fit on the cards of the cluster files? ---

PRESETS = ("paper", "fan-only")
MACHINES = {
    "g6.xlarge": Node("L4 and 4 CPUs", "", 4, 1, CARDS["L4"]),
    "g2-standard-8": Node("L4 and 8 CPUs", "", 8, 1, CARDS["L4"]),
    "g4dn.2xlarge": Node("T4 and 8 CPUs", "", 8, 1, CARDS["T4"]),
    "g5.2xlarge": Node("A10G and 8 CPUs", "", 8, 1, CARDS["A10G"]),
    "p5.4xlarge": Node("H100 and 16 CPUs", "", 16, 1, CARDS["H100"]),
}


@pytest.fixture(scope="module")
def needed() -> dict[str, list[Need]]:
    """What the NIPs of a preset need, smallest first."""
    return {preset: needs(planned(load_study(preset))) for preset in PRESETS}


def overflow(needed: list[Need], card: Card, resources: Resources) -> str:
    """Why trials do not fit, "" where they do."""
    try:
        for need in needed:
            fit(need, card, resources.gpus)
    except StudyError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("preset", PRESETS)
def test_trials_of_the_presets_fit_beside_each_other(
    preset: str, machine: str, needed: dict[str, list[Need]], capsys: pytest.CaptureFixture[str]
) -> None:
    resources, node = load_study(preset).resources, MACHINES[machine]
    assert node.card is not None
    jobs, largest = node.slots(resources), needed[preset][-1].memory
    sizes = ", ".join(f"{need.isp} {need.memory / 1e9:.1f}" for need in needed[preset])
    with capsys.disabled():
        print(
            f"\n{preset} on {machine} ({node.name}): {jobs} trials at a time; {sizes} GB each of {node.card}", end=" "
        )
    assert jobs >= 2, "one would leave most of the card idle"
    assert jobs * largest <= node.card.memory, "all at once"
    assert jobs * resources.cpus <= node.cpus
    assert overflow(needed[preset], node.card, resources) == "", "each in its share"


def test_a_share_that_is_too_small_is_noticed(needed: dict[str, list[Need]]) -> None:
    """A quarter of a card, which the preset once gave: DNet would run out of memory on the smaller ones."""
    quarter = Resources(gpus=0.25)
    found = {card: overflow(needed["paper"], CARDS[card], quarter) for card in ("T4", "L4", "A10G", "H100")}
    assert [card for card, why in found.items() if why] == ["T4", "L4", "A10G"]
    assert "a trial of DNet needs" in found["L4"]
    assert "set resources.gpus to 0.33 (at most 3 at a time)" in found["L4"]
    assert "set resources.gpus to 0.5 (at most 2 at a time)" in found["T4"]


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("preset", PRESETS)
def test_trials_of_the_presets_fit_on_the_nodes_of_a_cluster_file(
    name: str, preset: str, needed: dict[str, list[Need]]
) -> None:
    kind = load(name)["available_node_types"]["gpu"]
    card, has, resources = card_of(kind["node_config"]), kind["resources"], load_study(preset).resources
    assert card is not None, "the machine's card is known"
    assert Node("gpu", "", has["CPU"], has["GPU"]).slots(resources) >= 2
    assert overflow(needed[preset], card, resources) == ""
    machine = kind["node_config"].get("InstanceType") or kind["node_config"]["machineType"]
    assert (has["CPU"], card) == (MACHINES[machine].cpus, MACHINES[machine].card), "what the machine has"
