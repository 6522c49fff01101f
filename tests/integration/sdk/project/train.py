"""Ridge regression on the channel's CSV; the error goes to the log, the model to SM_MODEL_DIR. And how to serve it."""

import argparse
import json
import os
from pathlib import Path

import joblib
import numpy as np
from sklearn.linear_model import Ridge


def train() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--alpha", type=float, default=1.0)
    options, _ = parser.parse_known_args()
    x, y = np.loadtxt(Path(os.environ["SM_CHANNEL_TRAIN"]) / "train.csv", delimiter=",").T
    model = Ridge(alpha=options.alpha).fit(x[:, None], y)
    error = float(np.sqrt(np.mean((model.predict(x[:, None]) - y) ** 2)))
    print(f"alpha={options.alpha} train:rmse={error:.6f};", flush=True)
    joblib.dump(model, Path(os.environ["SM_MODEL_DIR"]) / "model.joblib")
    (Path(os.environ["SM_OUTPUT_DATA_DIR"]) / "report.json").write_text(json.dumps({"rmse": error}))


def model_fn(model_dir):  # type: ignore[no-untyped-def]
    return joblib.load(Path(model_dir) / "model.joblib")


if __name__ == "__main__":
    train()
