"""The recurrent-network lab: a thin package that the numbered notebooks import.

The way of the data: ``sources`` (reviews) -> ``text`` (tokens, vocabulary) -> ``data`` (arrays, batches) and
``vectors`` -> ``models`` over ``recurrent`` -> ``train`` (result file) -> ``grid`` -> ``report`` -> ``export``.
"""

__version__ = "0.1.0"
