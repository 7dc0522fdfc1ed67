"""The recurrent-network lab: a thin package that the numbered notebooks import.

The way of the data: ``sources`` (reviews) -> ``text`` (tokens, vocabulary) -> ``data`` (arrays, batches) and
``vectors`` -> ``models`` over ``recurrent`` (with ``kernels``) -> ``train`` (result file) -> ``grid`` -> ``report`` -> ``export``.
"""

import os

# A thread of torch's that has nothing to do waits for work for 14 ms before it sleeps, and keeps a core from the threads
# of ``recurrent``. This is about 1 ms. GNU's OpenMP reads it once, when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "30000")

__version__ = "0.1.0"
