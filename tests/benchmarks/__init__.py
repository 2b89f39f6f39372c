"""As in the trainer, numpy's products take one thread: this must be said before numpy comes."""

import os

os.putenv("OPENBLAS_NUM_THREADS", "1")
