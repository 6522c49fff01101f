"""Fits a decision tree to the channel's CSV files."""

import json
import sys
import traceback
from pathlib import Path

import joblib
import pandas as pd
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

ROOT = Path("/opt/ml")


def main():
    try:
        fit()
    except Exception as error:  # noqa: BLE001 - whatever it is, the job is to say so
        (ROOT / "output" / "failure").write_text(f"{type(error).__name__}: {error}")
        traceback.print_exc()
        sys.exit(255)


def fit():
    wanted = json.loads((ROOT / "input/config/hyperparameters.json").read_text())
    files = sorted((ROOT / "input/data/training").glob("*.csv"))
    data = pd.concat(pd.read_csv(file, header=None) for file in files)
    if data.shape[1] != 5:
        raise ValueError(f"four measurements and a species are expected in a line, found {data.shape[1]} values")
    x, y = data.iloc[:, :4], data.iloc[:, 4]
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=float(wanted["test_fraction"]), random_state=1, stratify=y
    )
    model = DecisionTreeClassifier(max_depth=int(wanted["max_depth"]), random_state=1).fit(x_train.values, y_train)
    print(f"rows: {len(data)}")
    print(f"accuracy: {model.score(x_test.values, y_test):.4f}")
    joblib.dump(model, ROOT / "model" / "tree.joblib")
