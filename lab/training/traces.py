"""How RNN and LSTM change their minds while reading: a few misjudged test reviews, kept in a small file."""

from __future__ import annotations

import numpy as np

from lab import files, record
from lab.config import Config
from lab.data import cache
from lab.model import classifier
from lab.training import runs

LONGEST = 300  # tokens; longer reviews make an unreadable picture


def write(dataset: str, seed: int = 2077) -> bool:
    """Write ``traces.json`` beside the result files; False where the two models or their results are not at hand.

    Chosen are the most confident mistakes of each base that the other judges rightly, and of both together.
    """
    configs = {base: Config(DATASET=dataset, MODEL_BASE=base, SEED=seed) for base in ("RNN", "LSTM")}
    folders = {base: runs.run_folder(config) for base, config in configs.items()}
    paths = {base: files.result_path(dataset, config.run_id) for base, config in configs.items()}
    if not all(path.is_file() for path in paths.values()):
        return False
    if not all((folder / "model.safetensors").is_file() for folder in folders.values()):
        return False
    prepared = cache.load(configs["LSTM"])
    results = {base: record.read(path) for base, path in paths.items()}
    if any(result["data"]["fingerprint"] != prepared.fingerprint for result in results.values()):
        return False
    test = prepared.test
    models = {base: runs.load_run(folder)[1] for base, folder in folders.items()}
    error = {base: np.abs(record.probabilities(result) - test.labels) for base, result in results.items()}
    wrong = {base: (value > 0.5) & (test.lengths <= LONGEST) for base, value in error.items()}
    kinds = {
        "只有RNN判错": (wrong["RNN"] & ~wrong["LSTM"], error["RNN"] - error["LSTM"]),
        "只有LSTM判错": (wrong["LSTM"] & ~wrong["RNN"], error["LSTM"] - error["RNN"]),
        "两者都判错": (wrong["RNN"] & wrong["LSTM"], error["RNN"] + error["LSTM"]),
    }
    reviews = []
    for kind, (candidates, weight) in kinds.items():
        if not candidates.any():
            continue
        place = int(np.argmax(np.where(candidates, weight, -1)))
        curves = {base: classifier.prefix_probabilities(model, test[place]) for base, model in models.items()}
        turn = int(np.argmax(np.abs(np.diff(curves["LSTM"], prepend=0.5))))
        start = record.passage_start(turn)
        reviews.append(
            dict(
                kind=kind,
                name=test.name(place),
                label=int(test.labels[place]),
                turn=turn + 1,
                passage=" ".join(prepared.vocabulary[token] for token in test[place][start : start + record.PASSAGE]),
                probability={base: [round(float(value), 4) for value in curve] for base, curve in curves.items()},
            )
        )
    names = {base: config.run_id for base, config in configs.items()}
    files.write_json(files.result_path(dataset, "traces"), dict(runs=names, reviews=reviews))
    return True
