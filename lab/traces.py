"""How RNN and LSTM change their minds while reading: a few misjudged test reviews, kept in a small file."""

from __future__ import annotations

import numpy as np

from lab import files, models, train
from lab.config import Config
from lab.data import cache
from lab.data.reviews import Reviews

LONGEST = 300  # tokens; longer reviews make an unreadable picture
PASSAGE = 12  # tokens shown around the place where the LSTM changes its mind most


def write(dataset: str, seed: int = 2077) -> bool:
    """Write ``traces.json`` beside the result files; False where the two models are not at hand.

    Chosen are the most confident mistakes of each base that the other judges right, and of both together.
    """
    configs = {base: Config(DATASET=dataset, MODEL_BASE=base, SEED=seed) for base in ("RNN", "LSTM")}
    folders = {base: train.run_folder(config) for base, config in configs.items()}
    if not all((folder / "model.safetensors").is_file() for folder in folders.values()):
        return False
    prepared = cache.load(configs["LSTM"])
    test, loaded = prepared.test, {base: train.load_run(folder)[1] for base, folder in folders.items()}
    short = np.flatnonzero(test.lengths <= LONGEST)
    labels = test.labels[short]
    lengths = test.lengths[short]
    sample = Reviews(
        np.concatenate([test[at] for at in short]),
        np.concatenate([[0], np.cumsum(lengths)]),
        *(getattr(test, name)[short] for name in ("labels", "numbers", "ratings", "digests")),
    )
    device = train.pick_device(Config(DEVICE="cpu"))
    error = {
        base: np.abs(train.evaluate(model, sample, device)["probability"] - labels) for base, model in loaded.items()
    }
    wrong = {base: value > 0.5 for base, value in error.items()}
    kinds = {
        "只有RNN判错": (wrong["RNN"] & ~wrong["LSTM"], error["RNN"] - error["LSTM"]),
        "只有LSTM判错": (wrong["LSTM"] & ~wrong["RNN"], error["LSTM"] - error["RNN"]),
        "两者都判错": (wrong["RNN"] & wrong["LSTM"], error["RNN"] + error["LSTM"]),
    }
    reviews = []
    for kind, (candidates, weight) in kinds.items():
        if not candidates.any():
            continue
        place = short[np.argmax(np.where(candidates, weight, -1))]
        paths = {base: models.prefix_probabilities(model, test[place]) for base, model in loaded.items()}
        turn = int(np.argmax(np.abs(np.diff(paths["LSTM"], prepend=0.5))))
        start = max(0, turn - PASSAGE // 2)
        reviews.append(
            dict(
                kind=kind,
                name=test.name(place),
                label=int(test.labels[place]),
                turn=turn + 1,
                passage=" ".join(prepared.vocabulary[token] for token in test[place][start : start + PASSAGE]),
                probability={base: [round(float(value), 4) for value in path] for base, path in paths.items()},
            )
        )
    facts = dict(runs={base: config.run_id for base, config in configs.items()}, reviews=reviews)
    files.write_json(files.result_path(dataset, "traces"), facts)
    return True
