"""A person's script runs as in AWS's framework images: its variables, its arguments, its failure, its model server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.containers import script_mode, script_server
from localcloud.containers.container_contract import prepare_training
from localcloud.containers.images import ImageMap
from localcloud.server import FRAMEWORK_IMAGES
from localcloud.testing import wait_for

TELL = """
import json, os, sys
print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}))
"""


def prepared(base: Path, script: str, **hyperparameters: str) -> Path:
    """A container's /opt/ml with a script as channel `code`, as the SDK sends it."""
    prepare_training(
        base,
        job_name="job",
        hyperparameters=hyperparameters,
        input_data_config=[{"ChannelName": "train"}, {"ChannelName": "code"}],
        resource_config={"InstanceCount": 1, "InstanceType": "ml.m5.large"},
    )
    (base / "input/data/code/train.py").write_text(script)
    return base


def train(base: Path, **environment: str) -> tuple[int, str]:
    ran = subprocess.run(
        [sys.executable, "-m", "localcloud.containers.script_mode", "train"],
        env={**os.environ, "SAGEMAKER_BASE_DIR": str(base), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return ran.returncode, ran.stdout + ran.stderr


def told(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(line for line in output.splitlines() if line.startswith('{"argv"')))
    return found


def test_script_gets_its_hyperparameters_as_arguments_and_variables(tmp_path: Path) -> None:
    values = {"sagemaker_program": "train.py", "epochs": "3", "name": '"with space"', "b": "true", "lr": "0.1"}
    code, output = train(prepared(tmp_path, TELL, **values))
    assert code == 0, output
    seen = told(output)
    assert seen["argv"] == ["-b", "True", "--epochs", "3", "--lr", "0.1", "--name", "with space"]
    environment = seen["env"]
    assert json.loads(environment["SM_HPS"]) == {"epochs": 3, "name": "with space", "b": True, "lr": 0.1}
    assert (environment["SM_HP_EPOCHS"], environment["SM_HP_NAME"]) == ("3", "with space")


def test_script_finds_its_folders(tmp_path: Path) -> None:
    _, output = train(prepared(tmp_path, TELL, sagemaker_program="train.py"))
    seen = told(output)
    environment = seen["env"]
    assert environment["SM_MODEL_DIR"] == str(tmp_path / "model")
    assert environment["SM_CHANNEL_TRAIN"] == str(tmp_path / "input/data/train")
    assert environment["SM_OUTPUT_DATA_DIR"] == str(tmp_path / "output/data")
    assert json.loads(environment["SM_CHANNELS"]) == ["code", "train"]
    assert json.loads(environment["SM_HOSTS"]) == ["algo-1"]
    assert json.loads(environment["SM_TRAINING_ENV"])["channel_input_dirs"]["train"] == environment["SM_CHANNEL_TRAIN"]
    assert seen["cwd"] == str(tmp_path / "input/data/code")


def test_failure_names_the_command_and_the_scripts_own_error(tmp_path: Path) -> None:
    script = "import sys\nprint('so far so good')\nraise ValueError('column 3 is missing')\n"
    code, output = train(prepared(tmp_path, script, sagemaker_program="train.py"))
    assert code == 1
    assert "so far so good" in output
    failure = (tmp_path / "output/failure").read_text()
    assert failure.startswith("ExecuteUserScriptError:\nExitCode 1\n")
    assert "ValueError: column 3 is missing" in failure
    assert "train.py" in failure


def test_job_without_a_script_says_that_there_are_no_built_in_algorithms(tmp_path: Path) -> None:
    code, _ = train(prepared(tmp_path, TELL))
    assert code == 1
    assert "built-in algorithms" in (tmp_path / "output/failure").read_text()


def test_script_that_is_not_there_is_named(tmp_path: Path) -> None:
    train(prepared(tmp_path, TELL, sagemaker_program="other.py"))
    assert "The script other.py is not in" in (tmp_path / "output/failure").read_text()


def test_shell_script_runs_too(tmp_path: Path) -> None:
    base = prepared(tmp_path, TELL, sagemaker_program="train.sh", epochs="2")
    (base / "input/data/code/train.sh").write_text('echo "shell $@" > "$SM_MODEL_DIR/said"\n')
    assert train(base)[0] == 0
    assert (base / "model/said").read_text() == "shell --epochs 2\n"


def test_wrong_command_is_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert script_mode.main(["fly"]) == 2
    assert "train|serve" in capsys.readouterr().err


@pytest.mark.parametrize(
    "uri",
    [
        "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3",
        "763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch-training:2.3-cpu-py311",
        "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.3-cpu-py311",
        "763104351884.dkr.ecr.us-east-1.amazonaws.com/tensorflow-training:2.16-cpu-py310",
    ],
)
def test_awss_framework_images_are_known_without_an_image_map(uri: str) -> None:
    assert ImageMap.load([FRAMEWORK_IMAGES]).find(uri).entrypoint[-1] == "localcloud.containers.script_mode"


def test_own_image_map_comes_before_them(tmp_path: Path) -> None:
    own = tmp_path / "images.toml"
    own.write_text('[[image]]\nmatch = "*pytorch*"\nentrypoint = ["mine"]\n')
    both = ImageMap.load([own]).before(ImageMap.load([FRAMEWORK_IMAGES]))
    assert both.find("1.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2").entrypoint == ("mine",)


# --- serving ---

SERVED = """
class Doubler:
    def predict(self, values):
        return values * 2

def model_fn(model_dir):
    return Doubler()
"""


class Server:
    """A model server under test."""

    def __init__(self, base: Path, **environment: str) -> None:
        # Nobody else gets the port meanwhile: it stays bound. The server may bind it as well, because nobody listens.
        self.reserved = socket.socket()
        self.reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.reserved.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.reserved.getsockname()[1]}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "localcloud.containers.script_mode", "serve"],
            env={
                **os.environ,
                "SAGEMAKER_BASE_DIR": str(base),
                "SAGEMAKER_BIND_TO_PORT": self.url.rsplit(":", 1)[1],
                **environment,
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def ping(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def invoke(self, body: bytes, kind: str, accept: str = "application/json") -> tuple[int, bytes]:
        headers = {"Content-Type": kind, "Accept": accept}
        request = urllib.request.Request(f"{self.url}/invocations", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


def served(tmp_path: Path, script: str) -> Path:
    code = tmp_path / "model/code"
    code.mkdir(parents=True)
    (code / "inference.py").write_text(script)
    return tmp_path


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.process.kill()
        server.process.communicate()
        server.reserved.close()


def test_defaults_speak_json_csv_and_say_what_they_do_not(tmp_path: Path, servers: list[Server]) -> None:
    server = Server(served(tmp_path, SERVED))
    servers.append(server)
    wait_for(server.ping, 60)
    assert server.invoke(b"[1, 2.5]", "application/json") == (200, b"[2.0, 5.0]")
    assert server.invoke(b"1,2\n3,4\n", "text/csv", "text/csv") == (200, b"2.0,4.0\n6.0,8.0\n")
    assert server.invoke(b"[1]", "application/json", "*/*") == (200, b"[2]")
    status, told = server.invoke(b"x", "image/png")
    assert (status, b"define input_fn" in told) == (415, True)
    status, told = server.invoke(b"[1]", "application/json", "image/png")
    assert (status, b"define output_fn" in told) == (406, True)


def test_scripts_functions_come_first_and_their_errors_are_answers(tmp_path: Path, servers: list[Server]) -> None:
    own = """
def input_fn(data, content_type):
    if data == "bad":
        raise ValueError("cannot read this")
    return [len(data)]

def predict_fn(data, model, context):
    return {"length": data[0], "context": context}

def output_fn(prediction, accept):
    import json
    return json.dumps(prediction), "application/json"
"""
    server = Server(served(tmp_path, SERVED + own))
    servers.append(server)
    wait_for(server.ping, 60)
    assert server.invoke(b"four", "text/plain") == (200, b'{"length": 4, "context": null}')
    status, told = server.invoke(b"bad", "text/plain")
    assert (status, b"cannot read this" in told) == (500, True)


def test_server_whose_model_cannot_be_loaded_ends_and_says_why(tmp_path: Path, servers: list[Server]) -> None:
    server = Server(served(tmp_path, "def model_fn(model_dir):\n    raise OSError('no model here')\n"))
    servers.append(server)
    _, errors = server.process.communicate(timeout=60)
    assert server.process.returncode == 1
    assert b"no model here" in errors


def test_script_without_model_fn_is_told_to_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = served(tmp_path, "")
    (base / "model/code/nothing_here.py").write_text("")
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "nothing_here.py")
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(NotImplementedError, match=r"nothing_here\.py must define model_fn"):
        script_server.Model(base)
