"""The model that comes with the project (``report/model/``): a trained one in half precision, with fewer words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from lab import files, record
from lab.data import cache
from lab.engine import process
from lab.errors import LabError
from lab.training import loop, runs

LIMIT = 8_000_000  # bytes of the folder


def write(run: Path) -> dict:
    """Shrink the finished run ``run`` and put it where ``runs.SHIPPED`` says; returns what its ``facts.json`` holds.

    Kept are as many words as fit into ``LIMIT``, the most frequent of the training reviews; the others are <unk> from
    here on. The facts tell the accuracy on the test reviews of what is shipped, beside that of the run.
    """
    process.tune()
    config, model, vocabulary = runs.load_run(run)
    result = record.read(files.result_path(config.DATASET, config.run_id))
    dataset = cache.load(config)
    if dataset.fingerprint != result["data"]["fingerprint"]:
        raise LabError(f"{config.run_id}是用另外的数据训练的，无法在现在的测试集上核对。请用现在的数据重新训练。")

    weights = {name: value.half() for name, value in model.state_dict().items()}
    rows = weights.pop("embedding.weight")
    room = LIMIT - sum(value.nbytes for value in weights.values()) - 20_000  # names, configuration and facts
    sizes = np.array([rows[0].nbytes + len(word.encode()) + 1 for word in vocabulary])
    n = int((np.cumsum(sizes) <= room).sum())  # words stand by falling frequency
    weights["embedding.weight"] = rows[:n].clone()

    known = dataclasses.replace(dataset.test, tokens=np.where(dataset.test.tokens < n, dataset.test.tokens, 1))
    folder = runs.SHIPPED
    runs.save_weights(folder, config, weights, vocabulary[:n])
    _, model, _ = runs.load_run(folder)
    facts = dict(
        run_id=config.run_id,
        words=n,
        bytes=sum(path.stat().st_size for path in folder.iterdir() if path.name != "facts.json"),
        data=result["data"],
        accuracy=result["test"]["accuracy"],
        shipped_accuracy=loop.evaluate(model, known, "测试")["accuracy"],
    )
    files.write_json(folder / "facts.json", facts)
    return facts
