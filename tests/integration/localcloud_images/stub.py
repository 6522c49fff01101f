"""A container for localcloud's tests: it does what its hyperparameters or its environment ask for."""

import json
import os
import sys
import time
from pathlib import Path

BASE = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def train() -> None:
    wish = json.loads((BASE / "input/config/hyperparameters.json").read_text())
    print(f"hyperparameters {sorted(wish)}", flush=True)
    for epoch in range(int(wish.get("pipe", "0"))):
        print(f"epoch {epoch}: {(BASE / f'input/data/train_{epoch}').read_bytes()!r}", flush=True)
    for channel in sorted(path for path in (BASE / "input/data").iterdir() if path.is_dir()):
        files = sorted(str(path.relative_to(channel)) for path in channel.rglob("*") if path.is_file())
        print(f"channel {channel.name}: {files}", flush=True)
    (BASE / "model/model.txt").write_text("a model")
    if "metric" not in wish or wish["metric"] != "none":
        print(f"Val RMSE: {(float(wish.get('x', '3')) - 1) ** 2:.6f}", flush=True)
    for path in sorted((BASE / "checkpoints").iterdir()) if "checkpoint" in wish else ():
        print(f"checkpoint {path.name}: {path.read_text()}", flush=True)
    if "checkpoint" in wish:
        (BASE / "checkpoints/latest").write_text(wish["checkpoint"])
    time.sleep(float(wish.get("sleep", "0")))
    if "fail" in wish:
        (BASE / "output/failure").write_text(wish["fail"])
        sys.exit(1)


def process() -> None:
    received = BASE / "processing/input"
    for path in sorted(received.rglob("*")) if received.exists() else ():
        if path.is_file():
            print(f"input {path.relative_to(received)}: {path.read_text()}", flush=True)
    time.sleep(float(os.environ.get("SLEEP", "0")))
    if "STUB_WHOAMI" in os.environ:
        import boto3

        print(f"I am {boto3.client('sts').get_caller_identity()['Arn']}", flush=True)
    output = BASE / "processing/output/result"
    if output.exists():
        (output / "deep").mkdir()
        (output / "deep/result.txt").write_text(f"made with {os.environ.get('WISH', 'nothing')}")
    if "MESSAGE" in os.environ:
        (BASE / "output").mkdir(exist_ok=True)
        (BASE / "output/message").write_text(os.environ["MESSAGE"])
    sys.exit(int(os.environ.get("EXIT", "0")))


if sys.argv[1] == "train":
    train()
else:
    process()
