"""What a warm parent imports once, so that a job forked from it starts at once: imports only.

Nothing here may run a TensorFlow operation, open an ONNX session or start a thread: threads do not survive a fork.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

import keras  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import onnx  # noqa: F401
import onnxruntime  # noqa: F401
import tensorflow  # noqa: F401
import tf2onnx  # noqa: F401

from turbofan import evaluate, process, train  # noqa: F401
