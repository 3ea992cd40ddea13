"""The oracle: what the model must compute, written from the published formulas in float64 numpy.

It shares no code with the C++ reference model; that is what makes agreement between the two worth something.
"""

import os

# One thread: the same machine then always adds in the same order, so golden files come out byte for byte the
# same. It has to be said before numpy is first imported.
for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_variable] = "1"
