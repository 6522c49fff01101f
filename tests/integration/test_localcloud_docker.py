"""Jobs in containers of their images: the same contract as with processes, and nothing left behind.

A container engine is needed; engines.py says which. The images are small ones, of this machine's Python and a script.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud import daemon
from localcloud.containers.docker_runtime import CANNOT_PULL, DIRECTORY_LABEL, DockerImages, DockerRuntime, remove_left
from localcloud.containers.engine import Engine
from localcloud.containers.images import Image, ImageMap
from localcloud.containers.processes import ContainerError, ContainerSpec
from localcloud.testing import Cloud, wait_for
from localcloud.testing import localcloud as running_localcloud

from . import serving
from .engines import running_engine, small_images
from .localcloud_requests import ended, lines_so_far, log_lines, processing, training, tuning, unique

IMAGE = "test/stub:1"  # what localcloud_requests asks for
GROUP = "/aws/sagemaker/TrainingJobs"
SECONDS = 240.0  # an engine on a busy machine takes its time

# The engine itself, and its images, are part of the first test.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine that has the images; processes started from here find it, as they would find the machine's."""
    with running_engine() as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        with small_images(found, {IMAGE: "stub.py", serving.IMAGE: "model_server.py"}):
            yield found


@pytest.fixture(scope="module")
def cloud(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A localcloud whose jobs run in containers; "mapped/…" is an image by way of its image map."""
    directory = tmp_path_factory.mktemp("localcloud")
    (directory / "Dockerfile").touch()
    images = directory / "images.toml"
    images.write_text(
        f'[[image]]\nmatch = "mapped/*"\nentrypoint = ["false"]\ndocker = "{IMAGE}"\n'
        '[[image]]\nmatch = "unbuilt/*"\nentrypoint = ["false"]\n'
        'docker = "nobody-has:this"\ndockerfile = "Dockerfile"\n'
    )
    with running_localcloud(directory, images=[images], slots=4, docker=True) as running:
        running.role("job-role")
        running.client("s3").create_bucket(Bucket="test-bucket")
        yield running


@pytest.fixture(scope="module")
def bucket(cloud: Cloud) -> str:
    """A bucket."""
    return "test-bucket"


def running(bucket: str, code: str, **more: Any) -> dict[str, Any]:
    """CreateTrainingJob's request for a container that runs some code in place of the image's entry point."""
    request = training(unique("docker"), bucket, hyperparameters={"code": textwrap.dedent(code)}, **more)
    read = "import json; exec(json.load(open('/opt/ml/input/config/hyperparameters.json'))['code'])"
    request["AlgorithmSpecification"]["ContainerEntrypoint"] = ["python", "-c", read]
    return request


def train(cloud: Cloud, bucket: str, code: str | None = None, **more: Any) -> dict[str, Any]:
    """A training job that has ended."""
    request = running(bucket, code, **more) if code else training(unique("docker"), bucket, **more)
    cloud.client("sagemaker").create_training_job(**request)
    return ended(cloud, "Training", request["TrainingJobName"], SECONDS)


def output(cloud: Cloud, job: dict[str, Any]) -> list[str]:
    """What a training job's container wrote."""
    return log_lines(cloud, GROUP, job["TrainingJobName"])


# --- the contract ---


def test_a_training_job_gets_channels_and_hyperparameters_and_leaves_a_model(cloud: Cloud, bucket: str) -> None:
    s3 = cloud.client("s3")
    prefix = unique("channel")
    s3.put_object(Bucket=bucket, Key=f"{prefix}/deep/rows.txt", Body=b"1")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{prefix}/"}}

    job = train(
        cloud, bucket, hyperparameters={"x": "2"}, InputDataConfig=[{"ChannelName": "train", "DataSource": source}]
    )

    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert [metric["Value"] for metric in job["FinalMetricDataList"]] == [1.0]
    key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{bucket}/")
    with tarfile.open(fileobj=io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read())) as packed:
        assert packed.getnames() == ["model.txt"]
    assert output(cloud, job)[:2] == ["hyperparameters ['x']", "channel train: ['deep/rows.txt']"]


def test_a_failure_file_becomes_the_failure_reason(cloud: Cloud, bucket: str) -> None:
    job = train(cloud, bucket, hyperparameters={"fail": "the sky is falling"})
    assert (job["TrainingJobStatus"], job["FailureReason"]) == (
        "Failed",
        "AlgorithmError: the sky is falling, exit code: 1",
    )


def test_the_exit_code_is_the_containers(cloud: Cloud, bucket: str) -> None:
    assert train(cloud, bucket, "raise SystemExit(125)")["FailureReason"].endswith(", exit code: 125")


def test_a_processing_job_gets_its_arguments_and_environment_and_its_output_is_uploaded(
    cloud: Cloud, bucket: str
) -> None:
    request = processing(unique("docker"), bucket, environment={"WISH": "two\nlines = ü"})
    cloud.client("sagemaker").create_processing_job(**request)
    job = ended(cloud, "Processing", request["ProcessingJobName"], SECONDS)

    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    key = f"results/{job['ProcessingJobName']}/deep/result.txt"
    body = cloud.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    assert body.decode() == "made with two\nlines = ü"


def test_without_entry_point_and_arguments_the_images_own_run(cloud: Cloud, bucket: str) -> None:
    request = processing(unique("docker"), bucket, ProcessingOutputConfig={"Outputs": []})
    request["AppSpecification"] = {"ImageUri": IMAGE}
    cloud.client("sagemaker").create_processing_job(**request)
    job = ended(cloud, "Processing", request["ProcessingJobName"], SECONDS)
    said = log_lines(cloud, "/aws/sagemaker/ProcessingJobs", job["ProcessingJobName"])
    assert any("hyperparameters.json" in line for line in said)  # its CMD is `train`, which misses them here


def test_a_container_is_as_on_sagemaker_and_reaches_localcloud(
    cloud: Cloud, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
        import json, os, socket, urllib.request
        assert "SAGEMAKER_BASE_DIR" not in os.environ and "SERVICES" not in os.environ
        assert json.load(open("/opt/ml/input/config/resourceconfig.json"))["current_host"] == "algo-1"
        assert socket.gethostname() == "algo-1" and socket.gethostbyname("algo-1") == "127.0.0.1"
        assert os.environ["FROM_IMAGE"] == "yes" and os.environ["WISH"] == "granted"
        assert os.environ["OMP_NUM_THREADS"] == "1"
        assert os.environ["TRAINING_JOB_ARN"].endswith(os.environ["TRAINING_JOB_NAME"])
        with urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"] + "/_ministack/health") as answer:
            assert answer.status == 200
    """
    job = train(cloud, bucket, code, Environment={"WISH": "granted"})
    assert job["TrainingJobStatus"] == "Completed", output(cloud, job)


def test_a_container_in_network_isolation_reaches_nothing_but_itself(cloud: Cloud, bucket: str) -> None:
    code = """
        import os, socket, urllib.error, urllib.request
        assert socket.gethostbyname("algo-1") == "127.0.0.1"
        try:
            urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"], timeout=10)
        except urllib.error.URLError as error:
            assert isinstance(error.reason, ConnectionRefusedError), error  # nobody listens on its own loopback
        else:
            raise AssertionError("it was answered")
    """
    job = train(cloud, bucket, code, EnableNetworkIsolation=True)
    assert job["TrainingJobStatus"] == "Completed", output(cloud, job)


def test_output_comes_line_by_line_with_standard_error(cloud: Cloud, bucket: str) -> None:
    code = "import sys; print('ü' * 10); sys.stdout.flush(); print('wrong', file=sys.stderr); print('x' * 300_000)"
    lines = output(cloud, train(cloud, bucket, code))
    assert "ü" * 10 in lines
    assert "wrong" in lines
    assert sum(line.count("x") for line in lines if set(line) == {"x"}) == 300_000


def test_a_command_that_is_not_in_the_image_ends_with_127_and_says_so(cloud: Cloud, bucket: str) -> None:
    request = training(unique("docker"), bucket)
    request["AlgorithmSpecification"]["ContainerEntrypoint"] = ["no-such-program"]
    cloud.client("sagemaker").create_training_job(**request)
    job = ended(cloud, "Training", request["TrainingJobName"], SECONDS)
    assert job["FailureReason"].endswith("exit code: 127")
    assert any("no-such-program" in line for line in output(cloud, job))


def test_a_tuning_job_runs_its_trials_in_containers(cloud: Cloud, bucket: str) -> None:
    name = unique("docker")
    cloud.client("sagemaker").create_hyper_parameter_tuning_job(**tuning(name, bucket, jobs=3, parallel=2))
    job = ended(cloud, "HyperParameterTuning", name, SECONDS)
    assert job["TrainingJobStatusCounters"]["Completed"] == 3


# --- serving ---


def test_an_endpoint_serves_from_containers_which_are_replaced_when_they_die(
    cloud: Cloud, bucket: str, engine: Engine
) -> None:
    model = serving.model(cloud, bucket, NAME="in-a-container", DIE_AFTER="2")
    name = serving.endpoint(cloud, serving.config(cloud, serving.variant("main", model)))
    answer = serving.invoke(cloud, name)
    assert (answer["name"], answer["pid"], answer["files"]) == ("in-a-container", 1, ["weights.txt"])
    serving.invoke(cloud, name)
    with pytest.raises(ClientError):
        serving.invoke(cloud, name)

    def served_again() -> bool:
        try:
            return bool(serving.invoke(cloud, name))
        except ClientError:
            return False

    wait_for(served_again, SECONDS, 0.2)
    cloud.client("sagemaker").delete_endpoint(EndpointName=name)
    wait_for(lambda: not engine.containers(f"{DIRECTORY_LABEL}={cloud.running.directory}"), SECONDS)


# --- stopping ---


def test_a_stopped_job_gets_sigterm_and_keeps_its_model(cloud: Cloud, bucket: str) -> None:
    sagemaker = cloud.client("sagemaker")
    code = """
        import pathlib, signal, sys, time
        def end(*_):
            pathlib.Path("/opt/ml/model/half.txt").write_text("half a model")
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        print("ready", flush=True)
        time.sleep(600)
    """
    request = running(bucket, code)
    name = request["TrainingJobName"]
    sagemaker.create_training_job(**request)
    wait_for(lambda: "ready" in lines_so_far(cloud, GROUP, name), SECONDS)
    sagemaker.stop_training_job(TrainingJobName=name)

    job = ended(cloud, "Training", name, SECONDS)

    assert job["TrainingJobStatus"] == "Stopped"
    assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith("model.tar.gz")


def test_a_job_over_its_time_is_stopped(cloud: Cloud, bucket: str) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(143)); time.sleep(600)"
    job = train(cloud, bucket, code, StoppingCondition={"MaxRuntimeInSeconds": 5})
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_nothing_is_left_of_jobs_that_have_ended(cloud: Cloud, bucket: str, engine: Engine) -> None:
    train(cloud, bucket)
    assert engine.containers(f"{DIRECTORY_LABEL}={cloud.running.directory}") == []
    wait_for(lambda: list((cloud.running.directory / "jobs").iterdir()) == [], SECONDS)


# --- which image ---


def test_the_image_map_names_an_image_for_other_uris(cloud: Cloud, bucket: str) -> None:
    request = training(unique("docker"), bucket)
    request["AlgorithmSpecification"]["TrainingImage"] = "mapped/any:thing"
    cloud.client("sagemaker").create_training_job(**request)
    assert ended(cloud, "Training", request["TrainingJobName"], SECONDS)["TrainingJobStatus"] == "Completed"


@pytest.mark.parametrize(
    ("uri", "advice"),
    [("unbuilt/image:1", "docker build -t nobody-has:this -f "), ("unheard/of:1", "Build or tag it by that name")],
)
def test_an_image_that_is_not_there_is_refused_with_advice(cloud: Cloud, bucket: str, uri: str, advice: str) -> None:
    request = training(unique("docker"), bucket)
    request["AlgorithmSpecification"]["TrainingImage"] = uri
    with pytest.raises(ClientError) as caught:
        cloud.client("sagemaker").create_training_job(**request)
    error = caught.value.response["Error"]
    assert error["Code"] == "ValidationException"
    assert error["Message"].startswith(f"Cannot find repository for image {uri}.")
    assert advice in error["Message"]


# --- the runtime by itself ---


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A container's directory, at a path that needs quoting."""
    made = tmp_path / 'with, "all" in it'
    made.mkdir()
    return made


def spec(engine: Engine, base: Path, code: str) -> ContainerSpec:
    return ContainerSpec(DockerImages(engine, ImageMap([])).find(IMAGE), ("python", "-c", code), {}, base, "the job")


def test_files_of_a_containers_user_are_given_to_the_servers(engine: Engine, base: Path, tmp_path: Path) -> None:
    runtime = DockerRuntime(engine, tmp_path, owner=(12345, 12346))
    code = "import os; os.makedirs('/opt/ml/a/b', mode=0o700); open('/opt/ml/a/b/c', 'w').close()"
    try:
        assert runtime.start(spec(engine, base, code), print).wait(SECONDS) == 0
    finally:
        runtime.close()
    for path in (base / "a", base / "a/b", base / "a/b/c"):
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)


def test_out_of_memory_is_told_from_other_ends(engine: Engine, base: Path, tmp_path: Path) -> None:
    runtime = DockerRuntime(engine, tmp_path, memory="64m")
    try:
        killed = runtime.start(spec(engine, base, "x = bytearray(10**9)"), print)
        assert killed.wait(SECONDS) == 137
        # Podman does not say it of every machine.
        assert killed.out_of_memory or engine.name.startswith("Podman")
        well = runtime.start(spec(engine, base, ""), print)
        assert well.wait(SECONDS) == 0
        assert not well.out_of_memory
    finally:
        runtime.close()


def test_an_image_removed_meanwhile_fails_the_job_in_sagemakers_words(
    engine: Engine, base: Path, tmp_path: Path
) -> None:
    runtime = DockerRuntime(engine, tmp_path)
    gone = Image("gone:1", (), docker=f"sha256:{'0' * 64}", build="docker build -t gone:1 .")
    try:
        with pytest.raises(ContainerError) as caught:
            runtime.start(ContainerSpec(gone, ("python",), {}, base, "job"), print)
    finally:
        runtime.close()
    assert str(caught.value).startswith(CANNOT_PULL)
    assert "docker build -t gone:1 ." in str(caught.value)


def test_a_container_that_ignores_sigterm_is_killed_even_while_it_is_being_started(
    engine: Engine, base: Path, tmp_path: Path
) -> None:
    runtime = DockerRuntime(engine, tmp_path)
    try:
        container = runtime.start(spec(engine, base, "import time; time.sleep(600)"), print)
        container.stop(grace=1)
        assert container.wait(0) == 137
    finally:
        runtime.close()


def test_closing_kills_containers_and_refuses_more(engine: Engine, base: Path, tmp_path: Path) -> None:
    runtime = DockerRuntime(engine, tmp_path)
    lines: list[str] = []
    container = runtime.start(spec(engine, base, "import time; print(1, flush=True); time.sleep(600)"), lines.append)
    wait_for(lambda: lines, SECONDS)
    assert container.pid > 0
    runtime.close()
    assert container.wait(0) == 137
    assert engine.containers(f"{DIRECTORY_LABEL}={tmp_path}") == []
    with pytest.raises(ContainerError):
        runtime.start(spec(engine, base, ""), print)


def test_a_listener_that_fails_does_not_hold_the_container_up(engine: Engine, base: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    runtime = DockerRuntime(engine, tmp_path, log=notes.append)

    def fail(line: str) -> None:
        raise RuntimeError(line)

    try:
        assert runtime.start(spec(engine, base, "print('x\\n' * 100_000)"), fail).wait(SECONDS) == 0
    finally:
        runtime.close()
    assert len(notes) == 1


# --- a server that is killed ---


def test_a_killed_localcloud_leaves_no_container_and_its_jobs_are_failed_at_the_next_start(
    engine: Engine, tmp_path: Path
) -> None:
    running = daemon.start(tmp_path, docker=True)
    cloud = Cloud(running)
    cloud.role("job-role")
    cloud.client("s3").create_bucket(Bucket="test-bucket")
    request = training(unique("docker"), "test-bucket", hyperparameters={"sleep": "600"})
    cloud.client("sagemaker").create_training_job(**request)
    label = f"{DIRECTORY_LABEL}={tmp_path}"
    wait_for(lambda: engine.run("ps", "--quiet", "--filter", f"label={label}"), SECONDS)

    os.kill(running.pid, signal.SIGKILL)

    wait_for(lambda: not engine.containers(label), SECONDS)
    again = daemon.start(tmp_path, docker=True)
    try:
        assert again.docker
        assert engine.containers(label) == []
    finally:
        daemon.stop(tmp_path)


def test_files_of_a_killed_servers_containers_are_given_to_its_user(engine: Engine, tmp_path: Path) -> None:
    base = tmp_path / "job"
    base.mkdir()
    code = "import time; open('/opt/ml/written', 'w').close(); print('ready', flush=True); time.sleep(600)"
    server = f"""
import sys, threading
from pathlib import Path
from localcloud.containers import engine
from localcloud.containers.processes import ContainerSpec
from localcloud.containers.docker_runtime import DockerImages, DockerRuntime
from localcloud.containers.images import ImageMap
found, base = engine.find(), Path({str(base)!r})
runtime = DockerRuntime(found, base.parent, owner=(12345, 12346))
image = DockerImages(found, ImageMap([])).find({IMAGE!r})
spec = ContainerSpec(image, ("python", "-c", {code!r}), {{}}, base, "job")
runtime.start(spec, lambda line: print(line, flush=True))
threading.Event().wait()
"""
    with subprocess.Popen([sys.executable, "-c", server], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
    wait_for(lambda: (base / "written").stat().st_uid == 12345, SECONDS)
    assert engine.containers(f"{DIRECTORY_LABEL}={tmp_path}") == []


def test_what_a_watchdog_missed_is_removed_at_the_next_start(engine: Engine, base: Path, tmp_path: Path) -> None:
    label = f"{DIRECTORY_LABEL}={tmp_path}"
    engine.run("create", "--label", label, IMAGE)
    started = engine.run(
        *("create", "--label", label, "--network", "none", "--entrypoint", "python"),
        *(IMAGE, "-c", "import time; time.sleep(600)"),
    )
    engine.run("start", started)
    assert remove_left(engine, tmp_path) == 2
    assert engine.containers(label) == []


def test_a_localcloud_that_runs_with_processes_is_not_taken_for_one_with_containers(
    engine: Engine, tmp_path: Path
) -> None:
    with running_localcloud(tmp_path):
        ran = start_command("start", "--docker", "--dir", str(tmp_path))
    assert ran.returncode == 1
    assert "runs without --docker: stop it first" in ran.stderr


def test_the_status_says_that_jobs_run_in_containers(cloud: Cloud) -> None:
    directory = str(cloud.running.directory)
    assert json.loads(start_command("status", "--dir", directory, "--json").stdout)["docker"] is True
    assert "run in containers of their images" in start_command("status", "--dir", directory).stdout


def start_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`localcloud …`."""
    return subprocess.run([sys.executable, "-m", "localcloud", *arguments], capture_output=True, text=True)
