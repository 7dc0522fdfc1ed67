"""Training: repeatable, resumable, honest about which epoch is tested; its result file and its run folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import timeless
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lab import files, record
from lab.config import Config, LanguageConfig
from lab.data import cache
from lab.data.reviews import make_batch
from lab.engine import micro_batches
from lab.errors import LabError
from lab.model import classifier
from lab.training import loop, losses, runs

SMALL = dict(EMBEDDING_DIM=50, HIDDEN_DIM=8, BATCH_SIZE=8, N_EPOCHS=3, LEARNING_RATE=0.01, DEVICE="cpu")


@pytest.mark.parametrize("base", ["RNN", "LSTM"])
def test_two_runs_give_the_same_result_file(corpus, base):
    config = Config(MODEL_BASE=base, N_LAYERS=2, DROPOUT=0.3, **SMALL)
    first = runs.run(config)
    path = files.result_path("aclImdb", config.run_id)
    assert files.read_json(path) == first
    path.unlink()
    assert timeless(runs.run(config)) == timeless(first)


@pytest.mark.parametrize(("base", "pooling"), [("RNN", "last"), ("LSTM", "last"), ("LSTM", "concat"), ("RNN", "mean")])
def test_micro_batches_give_the_gradient_of_the_whole_batch(corpus, base, pooling, monkeypatch):
    config = Config(MODEL_BASE=base, N_LAYERS=2, BIDIRECTIONAL=True, POOLING=pooling, **SMALL)
    dataset = cache.load(config)
    rng = np.random.default_rng(0)
    model = classifier.build(config, rng.normal(size=(len(dataset.vocabulary), 50)).astype(np.float32))
    batch = make_batch(dataset.train, np.arange(20))
    loss = F.binary_cross_entropy_with_logits(model(batch.tokens, batch.lengths), batch.labels)
    whole = torch.autograd.grad(loss, list(model.parameters()))
    monkeypatch.setattr(micro_batches, "ROOM", 2**14)
    assert 1 < len(list(micro_batches.micro_batches(model, batch))) < 20
    assert micro_batches.backward(model, (batch, losses.labelled_losses)) == pytest.approx(loss.item(), rel=1e-5)
    for parameter, gradient in zip(model.parameters(), whole, strict=True):
        gradient = gradient.to_dense() if gradient.is_sparse else gradient
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_adversarial_gradient_is_that_of_the_formula(corpus, monkeypatch):
    config = Config(MODEL_BASE="LSTM", POOLING="concat", **SMALL)
    dataset = cache.load(config)
    model = classifier.build(config, np.random.default_rng(0).normal(size=(len(dataset.vocabulary), 50))).double()
    batch = make_batch(dataset.train, np.arange(20))
    batch = batch._replace(labels=batch.labels.double())
    x = model.embedding(batch.tokens)  # (T, B, E)
    sequence = pack_padded_sequence(x, batch.lengths, enforce_sorted=False)

    def loss(sequence):  # the formula, review by review, on packed sequences
        outputs, (h, _) = model.rnn(sequence)
        states, lengths = pad_packed_sequence(outputs)
        own = [states[:length, column] for column, length in enumerate(lengths)]
        v = torch.stack([torch.cat([h[-1, at], y.mean(0), y.amax(0)]) for at, y in enumerate(own)])
        return F.binary_cross_entropy_with_logits(model.head(v).squeeze(1), batch.labels, reduction="sum")

    def moved(g):
        return x + 0.5 * g / torch.stack([each.square().sum().sqrt() for each in g.unbind(1)])[:, None]

    (g,) = torch.autograd.grad(loss(sequence), x, retain_graph=True)
    total = loss(sequence) + loss(pack_padded_sequence(moved(g), batch.lengths, enforce_sorted=False))
    expected = torch.autograd.grad(total / 20, list(model.parameters()))
    monkeypatch.setattr(micro_batches, "ROOM", 2**14)
    plain = micro_batches.backward(model, (batch, lambda model, part: losses.labelled_losses(model, part, 0.5)))
    assert plain == pytest.approx(loss(sequence).item() / 20, rel=1e-12)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        gradient = gradient.to_dense() if gradient.is_sparse else gradient
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)


def test_virtual_adversarial_gradient_is_that_of_the_divergence(corpus, monkeypatch):
    config = Config(MODEL_BASE="LSTM", POOLING="mean", HEAD_DROPOUT=0.5, VIRTUAL=0.5, **SMALL)
    dataset = cache.load(config)
    model = classifier.build(config, np.random.default_rng(0).normal(size=(len(dataset.vocabulary), 50))).double()
    batch = make_batch(dataset.unlabelled, np.arange(20))
    x = model.embedding(batch.tokens)  # (T, B, E)
    lengths, columns = batch.lengths, range(20)

    def logits(x):  # on packed sequences, review by review, without dropout
        states, _ = pad_packed_sequence(model.rnn(pack_padded_sequence(x, lengths, enforce_sorted=False))[0])
        return model.head(torch.stack([states[: lengths[at], at].mean(0) for at in columns])).squeeze(1)

    before = torch.distributions.Bernoulli(logits=logits(x).detach())

    def divergence(change):
        after = torch.distributions.Bernoulli(logits=logits(x + change))
        return torch.distributions.kl_divergence(before, after)  # (B,)

    def scaled(change, norm):
        return norm * change / torch.stack([each.square().sum().sqrt() for each in change.unbind(1)])[:, None]

    (g,) = torch.autograd.grad(logits(x).sum(), x)
    change = scaled(-before.logits.sign()[:, None] * g, 0.5)
    expected = torch.autograd.grad(divergence(change).sum() / 20, list(model.parameters()))
    monkeypatch.setattr(micro_batches, "ROOM", 2**14)
    micro_batches.backward(model, (batch, lambda model, part: losses.unlabelled_losses(model, part, 0.5)))
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        gradient = gradient.to_dense() if gradient.is_sparse else gradient
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)

    # No other small change of the same length moves a judgement further.
    rng = torch.Generator().manual_seed(0)
    most = divergence(scaled(change, 1e-3))
    for _ in range(20):
        other = torch.randn(x.shape, generator=rng, dtype=x.dtype)
        assert (divergence(scaled(other, 1e-3)) <= most).all()


def test_unlabelled_reviews_are_those_of_the_language_model(corpus):
    dataset = cache.load(Config(VIRTUAL=1.0, **SMALL))
    text = cache.load_language(LanguageConfig())
    assert dataset.unlabelled.n == text.train.n > dataset.train.n
    known = set(dataset.vocabulary)
    for place in range(text.train.n):
        words = [text.vocabulary[token] for token in text.train[place][:-1]]  # without the mark at the end
        found = [dataset.vocabulary[token] for token in dataset.unlabelled[place]]
        assert found == [word if word in known else "<unk>" for word in words]


def test_of_equal_epochs_the_first_is_kept(corpus, monkeypatch):
    config, kept = Config(**SMALL), []
    dataset = cache.load(config)
    model = classifier.build(config, np.zeros((len(dataset.vocabulary), 50), dtype=np.float32))
    found = dict(loss=0.5, accuracy=0.5)
    monkeypatch.setattr(loop, "evaluate", lambda *_: found)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    loop.fit(model, sgd, dataset, config, [], {}, lambda best: kept.append(best["head.bias"].item()))
    assert kept == [kept[0]] * 3
    assert model.head.bias.item() != kept[0]  # the weights went on changing


def test_learning_rate_falls_to_zero_over_all_epochs(corpus):
    config = Config(**SMALL | dict(LR_DECAY=True))  # 4 batches an epoch
    dataset, rates = cache.load(config), []
    model = classifier.build(config, np.zeros((len(dataset.vocabulary), 50), dtype=np.float32))
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    sgd.register_step_pre_hook(lambda *_: rates.append(sgd.param_groups[0]["lr"]))
    for epoch in (1, 2, 3):
        loop.train_epoch(model, sgd, dataset.train, config, epoch)
    assert rates == pytest.approx([0.01 * (1 - step / 12) for step in range(12)])


@pytest.mark.parametrize("clip", [0.0, 1e-3])
def test_gradient_norms_are_those_before_clipping(corpus, clip):
    config = Config(**SMALL | dict(BATCH_SIZE=32, GRAD_CLIP=clip))  # the 32 training reviews in one step
    dataset = cache.load(config)
    rng = np.random.default_rng(0)
    model = classifier.build(config, rng.normal(size=(len(dataset.vocabulary), 50)).astype(np.float32))
    micro_batches.backward(model, (make_batch(dataset.train, np.arange(32)), losses.labelled_losses))
    expected = sum(parameter.grad.square().sum().item() for parameter in model.parameters()) ** 0.5
    _, norms = loop.train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.0), dataset.train, config, 1)
    assert norms == pytest.approx([expected], rel=1e-4)
    assert expected > 1e-3
    left = sum(parameter.grad.square().sum().item() for parameter in model.parameters()) ** 0.5
    assert left == pytest.approx(clip or expected, rel=1e-2)


def test_result_file_says_what_it_stands_on(corpus):
    result = runs.run(Config(**SMALL))
    assert result["kind"] == "classifier"
    assert result["config"] == Config(**SMALL).as_dict()
    assert result["data"]["sizes"] == {"train": 32, "valid": 8, "test": 40}
    assert result["data"]["vectors"]["words"] == 11
    assert [epoch["epoch"] for epoch in result["history"]] == [1, 2, 3]
    assert all(0 < epoch["grad_norm"] <= epoch["grad_norm_max"] for epoch in result["history"])
    assert {"torch", "spacy", "torchtext"} <= set(result["versions"])
    json.dumps(result, allow_nan=False)


def test_the_lowest_validation_loss_is_tested(corpus):
    config = Config(**SMALL | dict(LEARNING_RATE=0.3, N_EPOCHS=6))  # too fast: the loss goes up and down
    result = runs.run(config)
    past = [epoch["valid_loss"] for epoch in result["history"]]
    assert result["best_epoch"] == int(np.argmin(past)) + 1
    assert past[-1] != min(past)

    # The weights on disk are those of that epoch, and the stored marks are what they give.
    dataset = cache.load(config)
    _, model, vocabulary = runs.load_run(runs.run_folder(config))
    assert vocabulary == dataset.vocabulary
    valid = loop.evaluate(model, dataset.valid)
    assert valid["loss"] == pytest.approx(min(past), abs=1e-6)
    test = loop.evaluate(model, dataset.test)
    assert test["accuracy"] == result["test"]["accuracy"]
    np.testing.assert_array_equal(record.right(result), test["right"])
    np.testing.assert_allclose(record.probabilities(result), test["probability"], atol=1e-3)


def test_evaluation_against_one_review_at_a_time(corpus):
    config = Config(MODEL_BASE="LSTM", BIDIRECTIONAL=True, **SMALL)
    dataset = cache.load(config)
    torch.manual_seed(0)
    model = classifier.build(
        config, np.random.default_rng(0).normal(size=(len(dataset.vocabulary), 50)).astype("f4")
    ).eval()
    found = loop.evaluate(model, dataset.test)
    with torch.no_grad():
        logits = []
        for index in range(dataset.test.n):
            x = model.embedding(torch.from_numpy(dataset.test[index].astype("i8")))[:, None]
            state = model.rnn(x)[1][0]
            logits.append(model.head(torch.cat([state[-2], state[-1]], 1)).squeeze())
    logits, labels = torch.stack(logits), torch.from_numpy(dataset.test.labels.astype("f4"))
    assert found["loss"] == pytest.approx(F.binary_cross_entropy_with_logits(logits, labels).item(), abs=1e-6)
    assert found["accuracy"] == ((torch.sigmoid(logits) > 0.5) == labels.bool()).float().mean().item()


class Stop(Exception):
    """Stands for the power cut."""


@pytest.mark.parametrize(("stop_at", "virtual"), [(1, 0.0), (2, 0.5)])
def test_a_stopped_run_goes_on_to_the_same_result(corpus, monkeypatch, stop_at, virtual):
    config = Config(N_LAYERS=2, DROPOUT=0.3, VIRTUAL=virtual, **SMALL)
    whole = runs.run(config)
    path = files.result_path("aclImdb", config.run_id)
    path.unlink()

    real, epochs = loop.train_epoch, []

    def stopping(model, optimizer, reviews, config, epoch, unlabelled):
        epochs.append(epoch)
        if epochs.count(epoch) == 1 and epoch == stop_at + 1:
            raise Stop
        return real(model, optimizer, reviews, config, epoch, unlabelled)

    monkeypatch.setattr(loop, "train_epoch", stopping)
    with pytest.raises(Stop):
        runs.run(config)
    assert not path.exists()
    assert timeless(runs.run(config)) == timeless(whole)
    assert epochs == [*range(1, stop_at + 2), *range(stop_at + 1, 4)]  # no finished epoch was run again
    assert not list(runs.run_folder(config).glob("checkpoint*"))


def test_a_checkpoint_of_other_data_or_a_broken_one_is_not_used(corpus, monkeypatch):
    config = Config(**SMALL)
    expected = timeless(runs.run(config))
    folder = runs.run_folder(config)
    (folder / "checkpoint.safetensors").write_bytes(b"half")
    assert timeless(runs.run(config, again=True)) == expected
    model = classifier.build(config, np.zeros((5, 50), dtype="f4"))
    runs.save_checkpoint(folder, "another stamp", model, torch.optim.Adam(model.parameters()), [{"x": 1}], {}, 1.0)
    assert timeless(runs.run(config, again=True)) == expected


def test_a_finished_run_is_loaded_unless_it_is_asked_for_or_stands_on_other_data(corpus, capsys):
    config = Config(**SMALL)
    first = runs.run(config)
    assert runs.run(config) == first  # its times too
    assert "已经训练完成" in capsys.readouterr().out
    again = runs.run(config, again=True)
    assert again != first
    assert timeless(again) == timeless(first)

    vectors = corpus / "glove.6B.50d.txt"
    vectors.write_text("".join(vectors.read_text().splitlines(keepends=True)[:-1]))
    assert runs.run(config)["data"]["vectors"]["words"] == first["data"]["vectors"]["words"] - 1


def test_diverged_training_is_one_chinese_line(corpus):
    with pytest.raises(LabError, match="LEARNING_RATE"):
        loop.train_epoch(*diverging(), 1)


def diverging():
    """Model, optimizer, reviews, config whose loss is not a number."""
    config = Config(**SMALL)
    dataset = cache.load(config)
    model = classifier.build(config, np.full((len(dataset.vocabulary), 50), np.inf, dtype="f4"))
    return model, torch.optim.Adam(model.parameters()), dataset.train, config


def test_cuda_where_there_is_none(corpus):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(LabError, match="DEVICE"):
        runs.run(Config(**SMALL | dict(DEVICE="cuda")))


def test_prefix_probabilities_are_those_of_the_prefixes():
    torch.manual_seed(0)
    tokens = np.random.default_rng(0).integers(1, 20, 150)
    for bidirectional in (False, True):
        model = classifier.SentimentClassifier(20, 6, 5, 2, bidirectional, 0.0, "LSTM").eval()
        path = classifier.prefix_probabilities(model, tokens, batch_size=64)
        for step in (1, 2, 77, 150):
            alone = model(torch.from_numpy(tokens[:step])[:, None], torch.tensor([step]))
            assert path[step - 1] == pytest.approx(torch.sigmoid(alone).item(), abs=1e-6)


def test_training_imports_neither_spacy_nor_torchtext(corpus):
    import subprocess
    import sys

    cache.load(Config(**SMALL))
    code = (
        "import sys\n"
        "sys.modules['spacy'] = sys.modules['torchtext'] = None  # any import of them fails\n"
        "import importlib.util; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name in ('spacy', 'torchtext') else find(name, *rest)\n"
        "from lab.training import runs; from lab.config import Config\n"
        f"runs.run(Config(**{SMALL!r}))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_predict_text(corpus):
    config = Config(**SMALL)
    runs.run(config)
    _, model, vocabulary = runs.load_run(runs.find_run("aclImdb"))
    assert 0 < classifier.predict(model, vocabulary, "The film is good.") < 1
    with pytest.raises(LabError, match="空的"):
        classifier.predict(model, vocabulary, "  ")
    with pytest.raises(LabError, match="xyzzy"):
        classifier.predict(model, vocabulary, "xyzzy qwertz")
    with pytest.raises(LabError, match="rnn-1x1"):
        runs.find_run("aclImdb", "lstm-9x9")
