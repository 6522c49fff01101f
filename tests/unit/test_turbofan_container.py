"""SageMaker's container contract: inputs as strings, failures as files, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from turbofan.__main__ import main
from turbofan.container import MESSAGE_LIMIT, Paths, compute_threads, is_simulated, run_job, setting
from turbofan.errors import InputError, SettingError
from turbofan.hyperparameters import Hyperparameters

from tests.unit.turbofan_data import Job


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    return tmp_path


def test_base_directory_is_sagemakers_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAGEMAKER_BASE_DIR")
    assert Paths.from_environment().failure == Path("/opt/ml/output/failure")


def test_error_of_the_job_is_its_message_and_exit_code_1(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def job(paths: Paths) -> None:
        raise InputError("the file is empty", "train_FD001.txt", "Upload it again.")

    assert run_job(job, lambda paths: paths.failure) == 1
    assert (base / "output/failure").read_text() == "the file is empty [train_FD001.txt]. Upload it again."
    assert "the file is empty" in capsys.readouterr().err


def test_unexpected_exception_says_what_and_where_in_the_code(base: Path) -> None:
    def job(paths: Paths) -> None:
        raise ZeroDivisionError("x" * 5000)

    assert run_job(job, lambda paths: paths.message) == 1
    message = (base / "output/message").read_text()
    assert message.startswith("Unexpected ZeroDivisionError: xxx")
    assert len(message) <= MESSAGE_LIMIT


def test_unexpected_exception_carries_the_tail_of_its_traceback(base: Path) -> None:
    def job(paths: Paths) -> None:
        raise ZeroDivisionError("oh")

    run_job(job, lambda paths: paths.message)
    message = (base / "output/message").read_text()
    assert "Traceback" in message
    assert 'raise ZeroDivisionError("oh")' in message


def test_long_message_is_cut_where_sagemaker_would_cut_it(base: Path) -> None:
    def job(paths: Paths) -> None:
        raise InputError("x" * 5000, "here", "Do.")

    run_job(job, lambda paths: paths.message)
    assert len((base / "output/message").read_text()) == MESSAGE_LIMIT


def test_success_leaves_no_message(base: Path) -> None:
    assert run_job(lambda paths: None, lambda paths: paths.message) == 0
    assert not (base / "output").exists()


def test_training_failure_and_processing_failure_go_to_their_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(tmp_path, monkeypatch)
    assert job.run("train") == 1
    assert "metadata.json" in job.failure
    assert job.run("process") == 1
    assert "not a trio" in job.message


def test_unknown_command_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["predict"])
    assert exit_.value.code == 2


def test_hyperparameters_come_as_strings(base: Path) -> None:
    (base / "input/config").mkdir(parents=True)
    given = {"epochs": "7", "learning_rate": "1.0E-4", "lstm_units_1": "48", "family": '"lstm"'}
    (base / "input/config/hyperparameters.json").write_text(json.dumps(given))
    parsed = Hyperparameters.parse(Paths.from_environment().hyperparameters())
    assert (parsed.epochs, parsed.learning_rate, parsed.lstm_units_1, parsed.family) == (7, 1e-4, 48, "lstm")


def test_defaults_are_the_reference_model() -> None:
    reference = Hyperparameters.parse({})
    assert (reference.lstm_units_1, reference.lstm_units_2, reference.dropout_rate) == (64, 64, 0.2)
    assert reference.sequence_length is None


def test_hyperparameters_that_sagemaker_adds_are_passed_over() -> None:
    given = {"_tuning_objective_metric": "val:rmse", "sagemaker_program": "x.py", "epochs": "3"}
    assert Hyperparameters.parse(given).epochs == 3


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("epoch", "3", "unknown hyperparameter"),
        ("epochs", "three", "'three' is not a whole number"),
        ("epochs", "2.5", "out of range"),
        ("epochs", "0", "out of range"),
        ("learning_rate", "nan", "out of range"),
        ("learning_rate", "-0.1", "out of range"),
        ("dropout_rate", "1.0", "out of range"),
        ("batch_size", "", "is not a whole number"),
        ("seed", "-1", "out of range"),
    ],
)
def test_bad_hyperparameter_is_named(name: str, value: str, says: str) -> None:
    with pytest.raises(SettingError, match=says) as error:
        Hyperparameters.parse({name: value})
    assert f"hyperparameter {name}" in str(error.value)


def test_hyperparameters_that_are_not_json_are_told(base: Path) -> None:
    (base / "input/config").mkdir(parents=True)
    (base / "input/config/hyperparameters.json").write_text("[1, 2]")
    with pytest.raises(SettingError, match="not a JSON object"):
        Paths.from_environment().hyperparameters()


def test_setting_out_of_range_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_RUL", "-5")
    with pytest.raises(SettingError, match="environment MAX_RUL"):
        setting("MAX_RUL", 125, 1, 1000)
    monkeypatch.setenv("MAX_RUL", "")
    assert setting("MAX_RUL", 125, 1, 1000) == 125


def test_threads_are_those_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert compute_threads() == 3


@pytest.mark.parametrize(("text", "simulated"), [("true", True), ("1", True), ("", False), ("false", False)])
def test_simulated_marker(text: str, simulated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATED", text)
    assert is_simulated() is simulated


def test_sigterm_ends_the_job_by_a_handler_without_which_a_containers_first_process_would_not_notice(
    base: Path,
) -> None:
    settings = base / "input/config/hyperparameters.json"
    settings.parent.mkdir(parents=True)
    os.mkfifo(settings)
    job = subprocess.Popen([sys.executable, "-m", "turbofan", "train"])
    with settings.open("w"):  # it is reading its hyperparameters now
        job.send_signal(signal.SIGTERM)
        assert job.wait(60) == 128 + signal.SIGTERM
