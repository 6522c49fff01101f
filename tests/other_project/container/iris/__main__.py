"""The image's entry point: SageMaker runs it with `train` or `serve`."""

import sys

from iris import serve, train

{"train": train.main, "serve": serve.main}[sys.argv[1]]()
