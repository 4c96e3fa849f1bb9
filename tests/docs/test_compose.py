"""The compose files and the Dockerfile agree with the code, as far as that shows without an engine.

Every variable, port, command and file they name is looked up where the code has it; the image's
copies are made in a scratch folder, where each command then runs without the checkout.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from projections import worker as projector
from runtime.jars import COORDINATES
from runtime.kafka import EmbeddedKafka
from runtime.logs import confluent_logger
from runtime.settings import ROOT, Settings
from schemas.topics import WORKERS
from streams import feed, worker

FILES = ("docker-compose.kafka.yml", "docker-compose.cluster.yml")
PORTS = {"risk": 8003, "execution": 8002, "positions": 8005}
"""Of CORE-1."""
NO_PROPERTIES = {"KAFKA_HEAP_OPTS"}
"""What the image hands to the JVM, not to the broker."""
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")


def services(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / name).read_text("utf-8"))["services"]
    return found


def merged() -> dict[str, dict[str, Any]]:
    """The base with the cluster file on top, environments merged as compose does."""
    base = services(FILES[0])
    for name, over in services(FILES[1]).items():
        known = base.setdefault(name, {})
        environment = {**known.get("environment", {}), **over.get("environment", {})}
        needs = {**known.get("depends_on", {}), **over.get("depends_on", {})}
        base[name] = {**known, **over, "environment": environment, "depends_on": needs}
    return base


PROCESSES = {n: s for n, s in services(FILES[0]).items() if n in (*WORKERS, "feed")}


def test_every_worker_has_a_service_and_a_port_of_its_own_for_this_machine_only() -> None:
    assert set(WORKERS) | {"feed"} == PROCESSES.keys()
    ports = {name: service["ports"] for name, service in PROCESSES.items()}
    assert len({str(port) for port in ports.values()}) == len(PROCESSES)
    for name, port in PORTS.items():
        assert ports[name] == [f"127.0.0.1:{port}:{port}"]
    for name, service in merged().items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name} would listen for everybody"


@pytest.mark.parametrize("name", PROCESSES)
def test_a_workers_command_is_understood_and_its_health_is_asked_on_its_port(name: str) -> None:
    service = PROCESSES[name]
    module, *words = service["command"]
    parsers = {"streams.worker": worker, "projections.worker": projector, "streams.feed": feed}
    options = parsers[module].parser().parse_args(words)
    assert getattr(options, "processor", name) == name
    assert service["ports"] == [f"127.0.0.1:{options.health_port}:{options.health_port}"]
    asked = ["CMD", "python", "-P", "-m", "runtime.health", str(options.health_port)]
    assert service["healthcheck"]["test"] == asked


def test_every_variable_is_a_setting_or_a_property_of_the_broker(kafka: EmbeddedKafka) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap}, logger=confluent_logger())
    broker = ConfigResource(ResourceType.BROKER, "1")
    known = {name.replace(".", "_") for name in admin.describe_configs([broker])[broker].result(10)}
    for name, service in merged().items():
        for variable, value in service.get("environment", {}).items():
            if variable.startswith("QUANTUM_"):
                field = variable.removeprefix("QUANTUM_").lower()
                assert field in Settings.model_fields, f"{name}: {variable}"
            elif name in ("kafka", "kafka-2", "kafka-3") and variable.startswith("KAFKA_"):
                known_property = variable.removeprefix("KAFKA_").lower() in known
                assert known_property or variable in NO_PROPERTIES, f"{name}: {variable}={value}"
    for file in FILES:
        for variable in re.findall(r"\$\{(QUANTUM_[A-Z_]+)", (ROOT / file).read_text("utf-8")):
            assert variable.removeprefix("QUANTUM_").lower() in Settings.model_fields


def test_every_setting_of_a_client_can_be_given_to_the_workers() -> None:
    """What docs/deployment.md says of TLS and SASL can be said here too."""
    clients = {name for name in Settings.model_fields if name.startswith("kafka_")}
    clients -= {"kafka_port", "kafka_replication", "kafka_min_insync"}
    environment = services(FILES[0])["risk"]["environment"]
    assert {f"QUANTUM_{name.upper()}" for name in clients} <= environment.keys()


def test_the_settings_of_each_worker_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for service in merged().values():
        for name in [name for name in os.environ if name.startswith("QUANTUM_")]:
            monkeypatch.delenv(name)
        for variable, value in service.get("environment", {}).items():
            if variable.startswith("QUANTUM_"):
                plain = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", str(value))
                monkeypatch.setenv(variable, plain)
        settings = Settings.load()
        if "QUANTUM_KAFKA" in service.get("environment", {}):
            assert settings.kafka == "kafka:9092,kafka-2:9092,kafka-3:9092"
    assert tmp_path.exists()


def test_the_broker_is_the_embedded_ones_version_and_every_image_is_pinned() -> None:
    wanted = next(c.rpartition(":")[2] for c in COORDINATES["kafka"] if "kafka_2.13" in c)
    for name, service in merged().items():
        image, _, tag = service["image"].rpartition(":")
        assert re.search(r"\d+\.\d+", tag), f"{name}: {service['image']} is not pinned"
        assert image != "apache/kafka" or tag == wanted
    bases = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)


def test_everything_restarts_has_limits_and_is_no_more_than_it_must_be() -> None:
    for name, service in merged().items():
        assert service["restart"] in ("unless-stopped", "on-failure"), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert service["user"].partition(":")[0] not in ("", "0", "root"), name
        assert "healthcheck" in service or name == "topics"
        assert "privileged" not in service
    for name in (*PROCESSES, "topics"):
        service = services(FILES[0])[name]
        assert service["user"] == "10001:10001"
        assert service["read_only"] is True
    assert re.search(r"(?m)^USER 10001:10001$", DOCKERFILE)


def test_secrets_are_files_and_never_values() -> None:
    file = yaml.safe_load((ROOT / FILES[0]).read_text("utf-8"))
    assert file["secrets"] == {"postgres_password": {"file": "./secrets/postgres_password"}}
    assert "/secrets/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    for name, service in merged().items():
        for variable, value in service.get("environment", {}).items():
            if "PASSWORD" in variable:
                assert variable.endswith("_FILE"), f"{name}: {variable}"
                mounted = [f"/run/secrets/{secret}" for secret in service.get("secrets", ())]
                assert value in mounted or value.startswith("${"), f"{name}: {variable}"
        uri = service.get("environment", {}).get("QUANTUM_POSTGRES", "")
        assert ":" not in uri.removeprefix("postgresql://").partition("@")[0]


def test_what_services_wait_for_and_mount_is_there() -> None:
    file = yaml.safe_load((ROOT / FILES[0]).read_text("utf-8"))
    cluster = yaml.safe_load((ROOT / FILES[1]).read_text("utf-8"))
    volumes = {*file["volumes"], *cluster["volumes"]}
    known = merged()
    for name, service in known.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in known, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in known[needed], name
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in volumes, name


def test_the_cluster_keeps_three_copies_of_which_two_must_be_written() -> None:
    known = merged()
    brokers = [known[name]["environment"] for name in ("kafka", "kafka-2", "kafka-3")]
    assert [broker["KAFKA_NODE_ID"] for broker in brokers] == [1, 2, 3]
    assert len({broker["CLUSTER_ID"] for broker in brokers}) == 1
    assert len({broker["KAFKA_CONTROLLER_QUORUM_VOTERS"] for broker in brokers}) == 1
    for broker in brokers:
        assert broker["KAFKA_DEFAULT_REPLICATION_FACTOR"] == 3
        assert broker["KAFKA_MIN_INSYNC_REPLICAS"] == 2
        assert broker["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
        assert broker["KAFKA_LOG_MESSAGE_TIMESTAMP_TYPE"] == "LogAppendTime"
    topics = known["topics"]["environment"]
    assert (topics["QUANTUM_KAFKA_REPLICATION"], topics["QUANTUM_KAFKA_MIN_INSYNC"]) == ("3", "2")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Dockerfile copies, in a folder; `.dockerignore` lets all of it through."""
    folder = tmp_path_factory.mktemp("image")
    let_in = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")
    }
    for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", DOCKERFILE):
        *sources, target = shlex.split(line)
        for source in sources:
            assert (ROOT / source).exists(), f"COPY {source}"
            assert source.split("/")[0] in let_in, f".dockerignore keeps {source} out"
            inside = folder / target.lstrip("/")
            if (ROOT / source).is_dir():
                shutil.copytree(
                    ROOT / source, inside, ignore=shutil.ignore_patterns("__pycache__", "*.parquet")
                )
            else:
                inside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, inside)
    return folder


COMMANDS = {
    service["command"][0]: service["command"]
    for name, service in services(FILES[0]).items()
    if name in (*PROCESSES, "topics")
}
"""One command of each module that services run."""


@pytest.mark.parametrize("module", COMMANDS)
def test_each_command_runs_in_the_image_without_the_checkout(
    image: Path, tmp_path: Path, module: str
) -> None:
    entry = json.loads(re.findall(r"(?m)^ENTRYPOINT (.+)$", DOCKERFILE)[0])
    assert entry[0] == "python"
    words = COMMANDS[module] if module == "commands" else [module]
    done = subprocess.run(
        [sys.executable, *entry[1:], *words, "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(image / "app"), "QUANTUM_DATA": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_the_image_installs_from_the_hashed_lock_and_nothing_else() -> None:
    (install,) = re.findall(r"pip install ([^\n]+)", DOCKERFILE)
    assert "--require-hashes" in install
    assert "--no-deps" in install
    assert install.split()[-1] == "/build/base.lock"
    lock = (ROOT / "locks" / "base.lock").read_text("utf-8")
    for entry in re.split(r"(?m)^(?=\S)", lock)[1:]:
        assert re.match(r"\S+==\S+ \\\n    --hash=sha256:", entry), entry[:60]


STEPS = re.findall(r"(?m)^RUN (.+)$", DOCKERFILE)


def test_the_steps_of_the_image_are_valid_in_a_plain_shell(tmp_path: Path) -> None:
    for step in STEPS:
        subprocess.run(["/bin/sh", "-n", "-c", step], check=True, cwd=tmp_path)


def test_what_the_image_compiles_compiles_in_a_plain_shell(image: Path) -> None:
    (step,) = (step for step in STEPS if "compileall" in step)
    ran(step, {"/app": image / "app"})
    assert (image / "app" / "domain" / "__pycache__").is_dir()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_image_s_packages_install_in_a_plain_shell(tmp_path: Path) -> None:
    """The whole step, from the registry, as the engine would run it."""
    (step,) = (step for step in STEPS if "pip install" in step)
    shutil.copytree(ROOT / "locks", tmp_path / "build")
    ran(step, {"/opt/venv": tmp_path / "venv", "/build": tmp_path / "build"})
    known = "import confluent_kafka, faust, sqlalchemy, psycopg, pydantic, numpy"
    subprocess.run([tmp_path / "venv" / "bin" / "python", "-c", known], check=True)


def ran(step: str, places: dict[str, Path]) -> None:
    """A step with the image's folders in a scratch one."""
    for there, here in places.items():
        step = step.replace(there, str(here))
    subprocess.run(["/bin/sh", "-e", "-c", step], check=True, env={**os.environ, "PATH": PATH})


PATH = os.pathsep.join((str(Path(sys.executable).parent), "/usr/bin", "/bin"))
