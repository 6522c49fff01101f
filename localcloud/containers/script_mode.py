"""AWS's framework images, for scripts: run a person's own script as the scikit-learn or PyTorch container would.

With those images people bring a script, not a container: the hyperparameters sagemaker_program and
sagemaker_submit_directory (when serving: variables of the same names in capitals) say which script and where its
sources are, and the image's toolkit runs it with the hyperparameters as arguments and with SM_* variables.
`python -m localcloud.containers.script_mode train` does that in a process here; `serve` is in script_server.py. The
packages that the script imports are those of the interpreter that runs localcloud.

Contract: github.com/aws/sagemaker-training-toolkit, ENVIRONMENT_VARIABLES.md, and
sagemaker.readthedocs.io/en/v2/using_pytorch.html.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from localcloud.containers.archives import unpack

OPT_ML = Path("/opt/ml")
# The last of the script's errors goes into FailureReason, which SageMaker caps at 1,024 characters.
ERROR_CHARACTERS = 700


class ScriptError(Exception):
    """The job cannot be run as asked; the text is the failure's."""


def main(arguments: list[str]) -> int:
    """Run `train` or `serve`; gives the exit code."""
    root = OPT_ML if (OPT_ML / "input/config").is_dir() else Path(os.environ.get("SAGEMAKER_BASE_DIR", OPT_ML))
    if arguments[:1] == ["serve"]:
        from localcloud.containers.script_server import serve

        return serve(OPT_ML if (OPT_ML / "model").is_dir() else root)
    if arguments[:1] != ["train"]:
        print(
            f"usage: python -m localcloud.containers.script_mode train|serve, not {' '.join(arguments)}",
            file=sys.stderr,
        )
        return 2
    try:
        return train(root)
    except ScriptError as error:
        return _failed(root, str(error))


def train(root: Path) -> int:
    """Run the training script of the container whose /opt/ml is `root`; gives its exit code."""
    values = _read(root / "input/config/hyperparameters.json")
    hyperparameters = {name: _decoded(value) for name, value in values.items()}
    program = hyperparameters.get("sagemaker_program") or os.environ.get("SAGEMAKER_PROGRAM")
    if not program:
        raise ScriptError(
            "No script to run: the hyperparameter sagemaker_program names none. This image runs scripts only; "
            "localcloud has none of SageMaker's built-in algorithms."
        )
    source = hyperparameters.get("sagemaker_submit_directory") or os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY")
    code = fetch_code(source, root / "code") if source else root / "input/data/code"
    if not (code / program).is_file():
        raise ScriptError(f"The script {program} is not in {source or code}")
    own = {name: value for name, value in hyperparameters.items() if not name.startswith("sagemaker_")}
    command = _command(program, _arguments(own))
    environment = {**os.environ, **_variables(root, code, program, own), "PYTHONPATH": python_path(code)}
    print(f"Invoking script with the following command:\n{' '.join(command)}", flush=True)
    process = subprocess.Popen(command, cwd=code, env=environment, stderr=subprocess.PIPE)
    tail = _Tail(process.stderr)
    status = process.wait()
    if status:
        error = tail.text()[-ERROR_CHARACTERS:]
        return _failed(
            root, f'ExecuteUserScriptError:\nExitCode {status}\nErrorMessage "{error}"\nCommand "{" ".join(command)}"'
        )
    return 0


def fetch_code(source: str, target: Path) -> Path:
    """The folder with the sources: an archive (.tar.gz) in S3 is fetched and unpacked, a folder is taken as it is."""
    if not source.startswith("s3://"):
        return Path(source)
    import boto3  # half a second, only where there is something to fetch

    parts = urlsplit(source)
    body = io.BytesIO()
    boto3.client("s3").download_fileobj(parts.netloc, parts.path.lstrip("/"), body)
    body.seek(0)
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=body, mode="r:*") as archive:
        unpack(archive, target)
    return target


def python_path(code: Path) -> str:
    """PYTHONPATH for the script: its own folder first, and what its requirements.txt names installed beside it."""
    folders = [str(code)]
    if (code / "requirements.txt").is_file():
        site = code / ".requirements"  # not among localcloud's own packages
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, "--target", str(site), "-r", "requirements.txt"], cwd=code, check=True)
        folders.append(str(site))
    return os.pathsep.join([*folders, *filter(None, [os.environ.get("PYTHONPATH")])])


def _command(program: str, arguments: list[str]) -> list[str]:
    if program.endswith(".py"):
        return [sys.executable, program, *arguments]
    if program.endswith(".sh"):
        return ["/bin/sh", program, *arguments]
    return [sys.executable, "-m", program, *arguments]


def _arguments(hyperparameters: Mapping[str, Any]) -> list[str]:
    arguments = []
    for name, value in sorted(hyperparameters.items()):
        arguments += [f"-{name}" if len(name) == 1 else f"--{name}", _text(value)]
    return arguments


def _variables(root: Path, code: Path, program: str, hyperparameters: Mapping[str, Any]) -> dict[str, str]:
    resources = _read(root / "input/config/resourceconfig.json")
    channels = _read(root / "input/config/inputdataconfig.json")
    directories = {name: str(root / "input/data" / name) for name in channels}
    arguments = _arguments(hyperparameters)
    variables: dict[str, Any] = {
        "MODEL_DIR": str(root / "model"),
        "INPUT_DIR": str(root / "input"),
        "INPUT_CONFIG_DIR": str(root / "input/config"),
        "OUTPUT_DIR": str(root / "output"),
        "OUTPUT_DATA_DIR": str(root / "output/data"),
        "OUTPUT_INTERMEDIATE_DIR": str(root / "output/intermediate"),
        "CHANNELS": sorted(channels),
        "HPS": hyperparameters,
        "CURRENT_HOST": resources["current_host"],
        "CURRENT_INSTANCE_TYPE": resources.get("current_instance_type", ""),
        "HOSTS": resources["hosts"],
        "NETWORK_INTERFACE_NAME": resources["network_interface_name"],
        "RESOURCE_CONFIG": resources,
        "INPUT_DATA_CONFIG": channels,
        "NUM_CPUS": os.cpu_count() or 1,
        "NUM_GPUS": 0,
        "NUM_NEURONS": 0,
        "LOG_LEVEL": 20,
        "MODULE_NAME": Path(program).stem,
        "MODULE_DIR": str(code),
        "USER_ENTRY_POINT": program,
        "USER_ARGS": arguments,
        **{f"CHANNEL_{name.upper()}": directory for name, directory in directories.items()},
        **{f"HP_{name.upper()}": value for name, value in hyperparameters.items()},
    }
    training = {**{name.lower(): value for name, value in variables.items()}, "channel_input_dirs": directories}
    return {f"SM_{name}": _text(value) for name, value in {**variables, "TRAINING_ENV": training}.items()}


def _decoded(value: str) -> Any:
    """A hyperparameter as its sender meant it: the SDK writes JSON, others plain text."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, bool) else json.dumps(value)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def _failed(root: Path, message: str) -> int:
    print(message, file=sys.stderr, flush=True)
    (root / "output/failure").write_text(message, "utf-8")
    return 1


class _Tail:
    """Passes a stream on to standard error, and keeps its end."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        for line in self._stream:
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
            self._lines = [*self._lines[-40:], line]

    def text(self) -> str:
        """The last lines."""
        self._thread.join(5.0)
        return b"".join(self._lines).decode("utf-8", "replace").strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
