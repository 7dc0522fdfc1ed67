"""The steps to the strongest classifier: language models first, what is finished is not trained again."""

from __future__ import annotations

from lab import experiment, files, recipes
from lab.training import runs

SMALL = dict(EMBEDDING_DIM=50, HIDDEN_DIM=8, BATCH_SIZE=8, DEVICE="cpu")


def test_best_trains_both_and_goes_on_from_what_is_finished(corpus):
    step = recipes.STEPS[-1]
    small = step._replace(
        classifier=step.classifier | SMALL, language=step.language | SMALL | dict(MAX_TOKENS=2000, BPTT_LEN=5)
    )
    [result] = experiment.best("aclImdb", 2077, [small])
    assert "-pool-concat-hd0.5-decay-adv1.2-pre-lm-lstm-" in result["run_id"]
    language = files.result_path("aclImdb", result["pretrained"]["run_id"])
    assert runs.find_run("aclImdb").name == result["run_id"]
    finished = language.stat().st_mtime_ns
    assert experiment.best("aclImdb", 2077, [small]) == [result]
    assert language.stat().st_mtime_ns == finished


def test_each_step_keeps_those_before():
    for before, after in zip(recipes.STEPS, recipes.STEPS[1:], strict=False):
        kept = {name: value for name, value in before.classifier.items() if name != "HIDDEN_DIM"}
        assert kept.items() <= after.classifier.items()
        config, language = recipes.configs(after, "aclImdb", 2078)
        assert (config.PRETRAINED, config.SEED, language.SEED) == (language.run_id, 2078, 2078)
        assert config.HIDDEN_DIM == language.HIDDEN_DIM


def test_results_that_came_with_the_project_are_set_aside(home):
    assert experiment.set_aside("aclImdb") is None
    for _ in range(2):
        files.write_json(files.result_path("aclImdb", "data"), dict(kept=True))
        kept = experiment.set_aside("aclImdb")
        assert files.read_json(kept / "data.json") == dict(kept=True)
        assert not files.results_dir("aclImdb").exists()
    assert kept.name == "aclImdb-2"
