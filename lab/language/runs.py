"""A run of the language model from its configuration to its result file."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from lab import files, machine, record
from lab.config import LanguageConfig, from_dict
from lab.data import cache, vectors
from lab.data.reviews import LanguageText
from lab.engine import optimizer, process
from lab.errors import LabError
from lab.language import training
from lab.language.model import SAMPLES, LanguageModel, build, generate
from lab.training import loop
from lab.training.runs import finished, load_checkpoint, read_vocabulary, run_lock, save_checkpoint, save_weights


def run(config: LanguageConfig, again: bool = False) -> dict:
    """Train the language model of ``config`` and measure it on the validation reviews; returns what its result file holds.

    Weights go to ``runs/``; a stopped run goes on from its last checkpoint, a finished one is loaded, unless it stands
    on other data or is to run ``again``. Raises ``LabError`` for what the user can mend.
    """
    with run_lock(config) as folder:
        return _run(config, folder, again)


def _run(config: LanguageConfig, folder: Path, again: bool) -> dict:
    started = time.perf_counter()
    process.tune()
    device = loop.pick_device(config)
    loop.seed_everything(config.SEED)
    text = cache.load_language(config)
    table, vector_facts = vectors.load(config, text)
    data = describe_data(config, text) | dict(vectors=vector_facts)
    if not again and (result := finished(config, folder, data)):
        return result
    model = build(config, table).to(device)
    adam = optimizer.Adam(model.parameters(), lr=config.LEARNING_RATE)

    stamp = json.dumps([record.SCHEMA, config.as_dict(), text.fingerprint, vector_facts])
    history, kept, spent = load_checkpoint(folder, stamp, model, adam)
    states = [tuple(kept[name].to(device) for name in sorted(kept) if name[0] == way) for way in "01"]

    def checkpoint(states) -> None:
        kept = {f"{way}.{place}": tensor for way, state in enumerate(states) for place, tensor in enumerate(state)}
        save_checkpoint(folder, stamp, model, adam, history, kept, spent + time.perf_counter() - started)

    training.fit(model, adam, text, config, history, states if kept else None, checkpoint)
    losses = training.losses(model, text.valid, progress=True)
    other_way = {}
    if config.BIDIRECTIONAL:
        mirrored = training.losses(model, training.mirrored(text.valid), progress=True, reverse=True)
        other_way = dict(reverse_perplexity=training.perplexity(mirrored))
    weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    save_weights(folder, config, weights, text.vocabulary)
    result = dict(
        schema=record.SCHEMA,
        kind="language_model",
        run_id=config.run_id,
        config=config.as_dict(),
        data=data,
        history=history,
        n_weights=sum(weight.numel() for weight in model.parameters()),
        valid=record.heard(text.valid, losses),
        **other_way,
        samples=[
            dict(temperature=temperature, top_k=top_k, text=generate(model, text.vocabulary, "", temperature, top_k))
            for temperature, top_k in SAMPLES
        ],
        **machine.describe(device),
        seconds=spent + time.perf_counter() - started,
    )
    files.write_json(files.result_path(config.DATASET, config.run_id), result)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return result


def describe_data(config: LanguageConfig, text: LanguageText) -> dict:
    """What the figures of a run stand on."""
    return dict(
        dataset=config.DATASET,
        fingerprint=text.fingerprint,
        sizes=dict(train=text.train.n, valid=text.valid.n),
        tokens=dict(train=len(text.train.tokens), valid=len(text.valid.tokens)),
        left_out=text.left_out,
        vocab_size=len(text.vocabulary),
    )


def load_run(folder: Path) -> tuple[LanguageConfig, LanguageModel, list[str]]:
    """Open a finished run: its configuration, its model (on the CPU) and its vocabulary."""
    if not (folder / "model.safetensors").is_file():
        raise LabError(f"{folder}里没有训练好的语言模型。请先用uv run lab lm训练。")
    process.tune()
    config = from_dict(files.read_json(folder / "config.json"), LanguageConfig)
    vocabulary = read_vocabulary(folder)
    model = build(config, np.zeros((len(vocabulary), config.EMBEDDING_DIM), dtype=np.float32))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return config, model.eval(), vocabulary
