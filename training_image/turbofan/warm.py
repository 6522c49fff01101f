"""What a warm parent imports once, so that a job forked from it starts at once: imports only.

Nothing here may run a TensorFlow operation or start a thread: threads do not survive a fork. That leaves out
onnxruntime, which starts one when it is imported (0.1 s, so each job imports it itself).
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
# Otherwise OpenBLAS, which comes with numpy, starts a thread for each further core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import keras  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import onnx  # noqa: F401
import tensorflow  # noqa: F401
import tf2onnx  # noqa: F401

from turbofan import evaluate, process, train  # noqa: F401
