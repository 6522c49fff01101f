"""process, train and evaluate as a plan for the fleet says; without one, all goes well. monitor and quality are real.

The plan is `$STUB_PLANS/<fleet>.json`: {"process": "fail message", "train": "fail message", "hold": false (true: every
job waits; "train": only those), "rmse": 12.5, "phm08": 300.0, "champion_rmse": 12.0, "report": "raw text instead of a
report", "monitor": "fail message", "quality": "fail message"}.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from turbofan.serve import predict, serve

ENDPOINT = "sagemaker_endpoint_name"  # Model Monitor's variable
ROOT = Path(__file__).parents[3]
BASE = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
OUTPUT = BASE / "processing/output"


def fleet() -> str:
    """Processing jobs are told the fleet; a training job's name holds it, and the endpoint's of a schedule."""
    name = os.environ.get("TRAINING_JOB_NAME") or os.environ.get(ENDPOINT, "onwing-")
    return os.environ.get("FLEET") or name.split("-")[1]


def read_plan() -> dict:
    path = Path(os.environ["STUB_PLANS"]) / f"{fleet()}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def fail(path: Path, message: str) -> None:
    write(path, message)
    print(f"ERROR {message}", file=sys.stderr)
    sys.exit(1)


def process(plan: dict) -> None:
    if "process" in plan:
        fail(BASE / "output/message", plan["process"])
    names = sorted(path.name for path in (BASE / "processing/input/dataset").iterdir())
    assert len(names) == 3, names
    for part in ("train", "validation", "test"):
        write(OUTPUT / part / "rows.npz", f"{part} of {names}")
    write(OUTPUT / "features/metadata.json", json.dumps({"files": names, "environment": dict(os.environ)}))
    write(OUTPUT / "baseline/statistics.json", "{}")
    write(OUTPUT / "baseline/constraints.json", "{}")


def train(plan: dict) -> None:
    if "train" in plan:
        fail(BASE / "output/failure", plan["train"])
    hyperparameters = json.loads((BASE / "input/config/hyperparameters.json").read_text())
    for channel in ("train", "validation", "features"):
        assert any((BASE / "input/data" / channel).iterdir()), channel
    rmse = 10 + float(hyperparameters["dropout_rate"])
    print(f"Train Loss: 0.5\nVal Loss: 0.25\nVal RMSE: {rmse}", flush=True)
    write(BASE / "model/model.onnx", json.dumps(hyperparameters, sort_keys=True))


def probe(unit: int, cycle: int) -> dict:
    """An engine of which the stub's server looks at the unit and the cycle only."""
    body = "\n".join(f"{unit},{row}" + ",0" * 24 for row in range(1, cycle + 1))
    answer = predict(unit, cycle, {})
    return {"unit": unit, "cycle": cycle, "body": body, "rul": answer, "expected": answer}


def evaluate(plan: dict) -> None:
    for part in ("test", "validation"):
        assert (BASE / "processing/input" / part / "rows.npz").exists(), part
    model = (BASE / "processing/input/model/model.tar.gz").read_bytes()
    figures = {"rmse": plan.get("rmse", 12.5), "mae": 9.0, "phm08": plan.get("phm08", 300.0)}
    metrics = {"clipped": figures, "unclipped": {**figures, "rmse": figures["rmse"] + 1}}
    champion = BASE / "processing/input/champion/model.tar.gz"
    sha256 = hashlib.sha256(model).hexdigest()
    report = {
        "artifact": {"sha256": sha256, "bytes": len(model)},
        "metrics": metrics,
        "champion": {"metrics": {"clipped": {"rmse": plan.get("champion_rmse", 12.0)}}} if champion.exists() else None,
        "gates": [{"name": name, "figure": figures[name], "passed": True} for name in ("rmse", "phm08")],
    }
    probes = {
        "schema": 1,
        "artifact_sha256": sha256,
        "fleet": fleet(),
        "dataset_version": os.environ["DATASET_VERSION"],
        "content_type": "text/csv",
        "max_rul": 125,
        "tolerance": 0.5,
        "probes": [probe(unit, cycle) for unit, cycle in enumerate((44, 75, 100, 118), 1)],
    }
    write(OUTPUT / "evaluation/probes.json", json.dumps(probes))
    write(OUTPUT / "evaluation/report.json", plan.get("report") or json.dumps(report))


def run_real(plan: dict) -> None:
    """Become the training image's own job of that name: there is nothing in it that is slow."""
    job = sys.argv[1]
    if job in plan:
        fail(BASE / "output/message", plan[job])
    path = [str(ROOT / "training_image"), str(ROOT / "layers/control_plane")]
    os.execve(sys.executable, [sys.executable, "-m", "turbofan", job], {**os.environ, "PYTHONPATH": ":".join(path)})


if sys.argv[1] == "serve":
    serve()
    sys.exit()
plan = read_plan()
while plan.get("hold") in (True, sys.argv[1]):
    time.sleep(0.1)
    plan = read_plan()
JOBS = {"process": process, "train": train, "evaluate": evaluate, "monitor": run_real, "quality": run_real}
JOBS[sys.argv[1]](plan)
