"""The strongest classifier: a language model first, then adversarial training from it; stopped and started again."""

from __future__ import annotations

from lab import experiment, files
from lab.config import Config
from lab.training import runs

SMALL = dict(EMBEDDING_DIM=50, HIDDEN_DIM=8, BATCH_SIZE=8, DEVICE="cpu")


def test_best_trains_both_and_goes_on_from_what_is_finished(corpus, monkeypatch):
    assert Config(**experiment.BEST).ADVERSARIAL > 0
    monkeypatch.setattr(
        experiment, "BEST_LANGUAGE", experiment.BEST_LANGUAGE | SMALL | dict(MAX_TOKENS=2000, BPTT_LEN=5)
    )
    monkeypatch.setattr(experiment, "BEST", experiment.BEST | SMALL)
    result = experiment.best("aclImdb", 2077)
    config = experiment.best_config("aclImdb", 2077)
    assert (result["run_id"], result["pretrained"]["run_id"]) == (config.run_id, config.PRETRAINED)
    assert "-pool-concat-hd0.5-decay-adv1.2-pre-lm-lstm-" in config.run_id
    assert runs.find_run("aclImdb").name == config.run_id
    finished = files.result_path("aclImdb", config.PRETRAINED).stat().st_mtime_ns
    assert experiment.best("aclImdb", 2077) == result
    assert files.result_path("aclImdb", config.PRETRAINED).stat().st_mtime_ns == finished
