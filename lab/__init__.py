"""The recurrent-network lab: a thin package that the numbered notebooks import.

The way of the data: ``data`` (reviews, tokens, arrays) -> ``model`` and ``language`` over ``engine`` -> ``training`` ->
result file (``record``) -> ``results`` (numbers, tables, pictures) -> ``export`` (HTML, PDF).
"""

import os

# A thread of torch's that has nothing to do waits for work for 14 ms before it sleeps, and keeps a core from the threads
# of ``engine.recurrent``. This is about 1 ms. GNU's OpenMP reads it once, when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "30000")

__version__ = "0.1.0"
