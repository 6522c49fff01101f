"""A processing script: every second line of the input."""

import sys
from pathlib import Path

lines = Path("/opt/ml/processing/input/train.csv").read_text().splitlines()
Path("/opt/ml/processing/output/half.csv").write_text("\n".join(lines[::2]) + "\n")
print(f"kept {len(lines[::2])} of {len(lines)} with {sys.argv[1:]}", flush=True)
