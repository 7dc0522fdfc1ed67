"""The language model: exact probabilities, a state that is handed on, text that holds nothing held out, what it starts."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import timeless
from safetensors.torch import load_file
from torch import nn
from tqdm.auto import tqdm

from lab import config as lab_config
from lab import files, record
from lab.config import Config, LanguageConfig
from lab.data import cache, text, vectors
from lab.data.reviews import EOS_ID
from lab.engine import recurrent
from lab.errors import LabError
from lab.language import ngram, runs, training
from lab.language.model import ClassSoftmax, LanguageModel, as_text, build, generate
from lab.model import classifier
from lab.results import perplexity
from lab.training import runs as classifier_runs

SMALL = dict(
    EMBEDDING_DIM=50, HIDDEN_DIM=8, BATCH_SIZE=4, BPTT_LEN=5, MAX_TOKENS=2000, LEARNING_RATE=0.01, DEVICE="cpu"
)  # fmt: skip


def small_model(base="LSTM", vocab_size=30, n_layers=2, dropout=0.0, tied=True):
    torch.manual_seed(0)
    return LanguageModel(vocab_size, 6, 5, n_layers, dropout, base, tied).double()


# The softmax


@pytest.mark.parametrize("cutoffs", [[4], [4, 11], [1, 2, 29]])
def test_softmax_is_pytorchs_adaptive_one_with_full_width(cutoffs):
    torch.manual_seed(0)
    ours = ClassSoftmax(nn.Parameter(torch.randn(30, 6)), cutoffs).double()
    theirs = nn.AdaptiveLogSoftmaxWithLoss(6, 30, cutoffs, div_value=1, head_bias=True).double()
    nn.init.normal_(ours.class_bias)
    first = cutoffs[0]
    with torch.no_grad():
        # Theirs has biases for the first choice only.
        ours.bias[:first] = torch.randn(first)
        theirs.head.weight.copy_(torch.cat([ours.weight[:first], ours.classes]))
        theirs.head.bias.copy_(torch.cat([ours.bias[:first], ours.class_bias]))
        for tail, low, high in zip(theirs.tail, cutoffs, [*cutoffs[1:], 30], strict=True):
            tail[0].weight.copy_(torch.eye(6))
            tail[1].weight.copy_(ours.weight[low:high])
    features, targets = torch.randn(200, 6, dtype=torch.double), torch.randint(0, 30, (200,))
    torch.testing.assert_close(ours(features, targets), theirs(features, targets).output)
    torch.testing.assert_close(ours.distribution(features), theirs.log_prob(features))
    torch.testing.assert_close(ours.distribution(features).exp().sum(1), torch.ones(200, dtype=torch.double))


def test_tied_model_has_one_matrix_for_both_ends():
    tied, untied = (small_model(tied=tied) for tied in (True, False))
    assert tied.softmax.weight is tied.embedding.weight
    n_weights = [sum(weight.numel() for weight in model.parameters()) for model in (tied, untied)]
    assert n_weights[1] - n_weights[0] == 30 * 6


# The stream


def test_streams_hold_the_text_in_order_and_targets_are_the_next_words():
    stream = training.batchify(np.arange(23), 2)  # (11, 2), the last word is left out
    assert stream[:, 0].tolist() == list(range(11))
    assert stream[:, 1].tolist() == list(range(11, 22))
    assert training.steps_per_pass(stream, 5) == 2
    seen = [training.get_batch(stream, step, 5) for step in range(3)]
    assert [first for _, _, first in seen] == [True, False, True]
    assert torch.cat([inputs for inputs, _, _ in seen[:2]])[:, 0].tolist() == list(range(10))
    for inputs, targets, _ in seen:
        torch.testing.assert_close(targets, inputs + 1)


@pytest.mark.parametrize("base", ["RNN", "LSTM"])
def test_one_long_piece_gives_the_same_loss_as_several(base):
    stream = training.batchify(np.random.default_rng(0).integers(1, 30, 3 * 61), 3)

    def loss(length, model=None):
        model = model or small_model(base)
        optimizer = torch.optim.SGD(model.parameters(), lr=0)
        config = LanguageConfig(BATCH_SIZE=3, BPTT_LEN=length, MODEL_BASE=base, LEARNING_RATE=1e-8)
        steps = range(60 // length)
        with tqdm(disable=True) as bar:
            return training.train_steps(model, optimizer, [stream], steps, len(steps), None, config, bar)

    whole, [state] = loss(60)
    for length in (4, 20):
        in_pieces, [last] = loss(length)
        assert in_pieces == pytest.approx(whole, abs=1e-6)
        for ours, theirs in zip(last, state, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)

    # The check can fail: a model that forgets its state between pieces has another loss.
    forgetful = small_model(base)
    forward = forgetful.forward
    forgetful.forward = lambda tokens, state, reverse: forward(tokens)
    assert abs(loss(4, forgetful)[0] - whole) > 1e-4


def test_gradient_ends_where_the_piece_begins():
    model = small_model("LSTM")
    _, state = model(torch.randint(1, 30, (4, 3)))
    kept = training.detach_state(state)
    assert len(kept) == 2
    assert not any(part.requires_grad for part in kept)


# The text


def words_of(corpus, part, name):
    return text.tokenize((corpus / "aclImdb" / part / name).read_text())


def spelled(loaded, reviews):
    return [[loaded.vocabulary[token] for token in reviews[place]] for place in range(reviews.n)]


def test_nothing_held_out_is_in_the_training_stream(corpus):
    # Two unlabelled reviews repeat a test review and a training one; which part the latter falls into depends on the seed.
    unsup = corpus / "aclImdb/train/unsup"
    (unsup / "1_0.txt").write_bytes((corpus / "aclImdb/test/pos/3_9.txt").read_bytes())
    (unsup / "2_0.txt").write_bytes((corpus / "aclImdb/train/neg/5_2.txt").read_bytes())
    seen = set()
    for seed in range(9):
        if len(seen) == 2:
            break
        loaded = cache.load_language(LanguageConfig(SEED=seed))
        classifier = cache.load(Config(SEED=seed))
        held_out = np.concatenate([classifier.valid.digests, classifier.test.digests])
        assert not np.isin(loaded.train.digests, held_out).any()
        np.testing.assert_array_equal(np.sort(loaded.valid.digests), np.sort(classifier.valid.digests))
        repeated = words_of(corpus, "train/neg", "5_2.txt") in [review[:-1] for review in spelled(loaded, loaded.valid)]
        seen.add(repeated)
        assert loaded.left_out == 1 + repeated
        assert loaded.train.n == 32 + 3 - loaded.left_out

        # And by the words themselves, read from the files again. (Each review of this corpus names its own file.)
        stream = " ".join(word for review in spelled(loaded, loaded.train) for word in review)
        for name in ("pos/3_9.txt", "neg/7_2.txt"):
            assert " ".join(words_of(corpus, "test", name)) not in stream
        for review in spelled(loaded, loaded.valid):
            assert " ".join(review[:-1]) not in stream
    assert seen == {True, False}


def test_vocabulary_is_the_training_texts_most_frequent_words(corpus):
    (corpus / "aclImdb/train/unsup/0_0.txt").write_text("<eos> <pad> <unk> zebra zebra zebra " + "film " * 50)
    loaded = cache.load_language(LanguageConfig(VOCAB_SIZE=10))
    assert loaded.vocabulary[:4] == ["<pad>", "<unk>", "<eos>", "film"]
    assert len(loaded.vocabulary) == 13
    assert (np.diff(loaded.counts[3:]) <= 0).all()
    assert loaded.counts[EOS_ID] == loaded.train.n  # a review cannot write the mark
    assert loaded.counts[0] == 0
    assert (loaded.train.tokens[loaded.train.offsets[1:] - 1] == EOS_ID).all()
    np.testing.assert_array_equal(loaded.counts, np.bincount(loaded.train.tokens, minlength=13))


# Perplexity


def test_perplexity_of_an_example_worked_by_hand():
    # Four words with the probabilities 1/2, 1/4, 1/8, 1/8: the geometric mean is 2 ** -(9/4).
    assert training.perplexity(-np.log([1 / 2, 1 / 4, 1 / 8, 1 / 8])) == pytest.approx(2 ** (9 / 4))


def test_a_model_that_knows_nothing_is_as_perplexed_as_there_are_words(corpus):
    loaded = cache.load_language(LanguageConfig())
    model = LanguageModel(len(loaded.vocabulary), 6, 5, 1, 0.0, "RNN", False)
    nn.init.zeros_(model.softmax.weight)
    nn.init.zeros_(model.softmax.classes)
    V, first = len(loaded.vocabulary), model.softmax.cutoffs[0]
    with torch.no_grad():
        model.softmax.class_bias[:] = np.log(V - first)  # the class is as likely as its words together
    assert training.perplexity(training.losses(model, loaded.valid)) == pytest.approx(V, rel=1e-5)


@pytest.mark.parametrize("base", ["RNN", "LSTM"])
def test_losses_against_one_word_at_a_time(corpus, base):
    loaded = cache.load_language(LanguageConfig())
    model = small_model(base, len(loaded.vocabulary)).eval()
    found = training.losses(model, loaded.valid)
    assert len(found) == len(loaded.valid.tokens)
    for place in (0, 3, 7):
        state, before, expected = None, EOS_ID, []
        for token in loaded.valid[place]:
            features, state = model(torch.tensor([[before]]), state)
            expected.append(-model.softmax.distribution(features[0])[0, token].item())
            before = int(token)
        own = slice(loaded.valid.offsets[place], loaded.valid.offsets[place + 1])
        np.testing.assert_allclose(found[own], expected, rtol=1e-6)
        np.testing.assert_allclose(training.losses(model, loaded.valid, np.array([place])), expected, rtol=1e-6)


def test_interval_covers_the_true_value_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        tokens = rng.integers(50, 400, 200)
        loss = tokens * (4.5 + rng.normal(0, 0.3, 200))  # reviews differ: the words of one are alike
        mean, low, high = perplexity.interval(loss, tokens)
        assert low < mean < high
        inside += low < np.exp(4.5) < high
    assert 0.91 < inside / 400 < 0.98


# Runs


@pytest.mark.parametrize("base", ["RNN", "LSTM"])
def test_training_learns_and_repeats_itself(corpus, base):
    config = LanguageConfig(MODEL_BASE=base, N_LAYERS=2, DROPOUT=0.2, **SMALL | dict(MAX_TOKENS=4000))
    result = runs.run(config)
    path = files.result_path("aclImdb", config.run_id)
    assert files.read_json(path) == result
    assert result["kind"] == "language_model"
    assert result["history"][-1]["tokens"] == 4000
    assert result["valid"]["perplexity"] < ngram.run(config)["unigram"]["perplexity"]
    assert result["valid"]["n_tokens"] == result["data"]["tokens"]["valid"]
    json.dumps(result, allow_nan=False)
    path.unlink()
    assert timeless(runs.run(config)) == timeless(result)

    # The weights on disk give the stored marks, and the marks of single reviews add up.
    _, model, vocabulary = runs.load_run(classifier_runs.run_folder(config))
    loaded = cache.load_language(config)
    assert vocabulary == loaded.vocabulary
    assert training.perplexity(training.losses(model, loaded.valid)) == pytest.approx(result["valid"]["perplexity"])
    loss, tokens = record.review_losses(result["valid"])
    np.testing.assert_array_equal(tokens, loaded.valid.lengths)
    assert perplexity.interval(loss, tokens)[0] == pytest.approx(result["valid"]["perplexity"], rel=1e-5)


class Stop(Exception):
    """Stands for the power cut."""


def test_a_stopped_run_goes_on_to_the_same_result(corpus, monkeypatch):
    config = LanguageConfig(DROPOUT=0.3, **SMALL)
    whole = runs.run(config)
    files.result_path("aclImdb", config.run_id).unlink()
    real, starts = training.train_steps, []

    def stopping(model, optimizer, stream, span, *rest):
        starts.append(span.start)
        if len(starts) == 8:
            raise Stop
        return real(model, optimizer, stream, span, *rest)

    monkeypatch.setattr(training, "train_steps", stopping)
    with pytest.raises(Stop):
        runs.run(config)
    assert timeless(runs.run(config)) == timeless(whole)
    assert len(starts) == 21  # one of the 20 spans was begun twice
    assert not list(classifier_runs.run_folder(config).glob("checkpoint*"))


def test_the_budget_is_never_exceeded_and_text_is_read_at_most_so_often(corpus):
    stream = training.batchify(cache.load_language(LanguageConfig()).train.tokens, 4)
    per_pass = training.steps_per_pass(stream, 5)
    assert training.n_steps(LanguageConfig(**SMALL | dict(MAX_TOKENS=119)), stream) == 5
    assert training.n_steps(LanguageConfig(**SMALL | dict(MAX_TOKENS=10**9, N_EPOCHS=3)), stream) == 3 * per_pass


def test_comparison_holds_every_model_on_the_same_text(corpus):
    for base in ("RNN", "LSTM"):
        runs.run(LanguageConfig(MODEL_BASE=base, **SMALL))
    ngram.run(LanguageConfig(**SMALL))
    runs.run(LanguageConfig(VOCAB_SIZE=20, **SMALL))  # another vocabulary: nothing to compare it with
    results = record.load("aclImdb", "language_model", "ngram")
    table = perplexity.comparison(results)
    assert list(table["模型"]) == ["一元语法模型（只看词频）", "三元语法模型（Kneser–Ney）", "8单元LSTM", "8单元RNN"]
    first, itself, *others = table["与三元语法模型之比"]
    assert itself == "–"
    ratios = [float(text.split()[0]) for text in (first, *others)]
    expected = table["困惑度"].drop(index=1) / table["困惑度"][1]
    assert ratios == pytest.approx(list(expected), abs=6e-4)
    assert set(table["种子"]) == {2077}
    assert sorted(perplexity.sentence(results).split("：")[1].rstrip("。").split("、")) == sorted(
        f"{name}（{value:.1f}）"
        for name, value in zip(("三元语法模型", "8单元LSTM", "8单元RNN"), table["困惑度"][1:], strict=True)
    )
    assert perplexity.sentence(results).startswith("种子2077的困惑度由低到高依次为：")
    twin = {**results[0], "run_id": "twin", "history": [dict(tokens=1)]}
    assert {"8单元LSTM（`twin`）", "8单元RNN"} <= set(perplexity.comparison([*results, twin])["模型"])
    assert "词元数不同，见[表](#perplexity)" in perplexity.sentence([*results, twin])
    data = {**results[0]["data"], "fingerprint": "another"}
    others = [{**each, "data": data, "run_id": each["run_id"].replace("-s2077", "-s1")} for each in results]
    assert perplexity.sentence([*results, *others]).startswith("2个共有种子的平均困惑度由低到高依次为：")
    few = [each for each in others if each["kind"] == "ngram" or each["config"]["MODEL_BASE"] == "RNN"]
    assert perplexity.sentence([*results, *few]) == perplexity.sentence(results)  # of the seeds that all models share
    another = {**results[0], "config": {**results[0]["config"], "SEED": 1}}
    assert list(perplexity.samples_table([*results, another])["模型"]) == ["LSTM"] * 3 + ["RNN"] * 3


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (dict(MAX_TOKENS=0), "MAX_TOKENS的值0不可用"),
        (dict(MAX_TOKENS=100), "BATCH_SIZE×BPTT_LEN=2240"),
        (dict(DROPOUTS=0.1), "没有名为DROPOUTS的参数。是不是想写DROPOUT"),
        (dict(BPTT_LEN=0), "BPTT_LEN"),
    ],
)
def test_bad_parameters_are_one_line(values, reason):
    with pytest.raises(LabError, match=reason) as caught:
        lab_config.from_dict(values, LanguageConfig)
    assert "\n" not in str(caught.value)


def test_too_little_text_is_one_line(corpus):
    with pytest.raises(LabError, match=r"训练文本太短.*BATCH_SIZE=100"):
        runs.run(LanguageConfig(**SMALL | dict(BATCH_SIZE=100, BPTT_LEN=20)))
    (corpus / "aclImdb/train/unsup/0_0.txt").unlink()
    with pytest.raises(LabError, match=r"没有train/unsup的影评"):
        runs.run(LanguageConfig(**SMALL | dict(SEED=1)))


# Writing


def test_writing_depends_on_the_seed_alone_and_keeps_to_its_limits():
    model, vocabulary = small_model().eval(), ["<pad>", "<unk>", "<eos>", *(f"w{at}" for at in range(27))]
    first = generate(model, vocabulary, temperature=2.0, seed=1)
    assert first == generate(model, vocabulary, temperature=2.0, seed=1)
    assert first != generate(model, vocabulary, temperature=2.0, seed=2)
    for top_k in (0, 1, 5, 30):
        written = generate(model, vocabulary, top_k=top_k, length=40)
        assert len(written.split()) <= 40
        assert not {"<pad>", "<unk>", "<eos>"} & set(written.split())

    # The most likely word each time, worked out without the state being handed on.
    tokens, expected = [EOS_ID], []
    for _ in range(10):
        features, _ = model(torch.tensor(tokens)[:, None])
        token = int(model.softmax.distribution(features[-1])[0, 2:].argmax()) + 2
        if token == EOS_ID:
            break
        tokens.append(token)
        expected.append(vocabulary[token])
    assert generate(model, vocabulary, top_k=1, length=10).split() == expected


@pytest.mark.parametrize("values", [dict(temperature=0), dict(temperature=float("nan")), dict(top_k=-1)])
def test_limits_of_writing_are_one_line(values):
    with pytest.raises(LabError, match=r"TEMPERATURE|TOP_K"):
        generate(small_model(), [str(at) for at in range(30)], **values)


def test_text_is_put_together_as_it_was():
    for sentence in ("It's a film (in 1950), but I don't care!", 'He said "no"; we\'d go.'):
        words = text.tokenize(sentence)
        assert as_text(words).replace(" ", "") == sentence.lower().replace(" ", "")
    assert as_text(text.tokenize("It doesn't work, does it?")) == "it doesn't work, does it?"


# A classifier that starts from it


def test_classifier_starts_from_the_language_model_word_by_word(corpus):
    source = LanguageConfig(MODEL_BASE="LSTM", VOCAB_SIZE=30, **SMALL)
    runs.run(source)
    weights = load_file(classifier_runs.run_folder(source) / "model.safetensors")
    config = Config(MODEL_BASE="LSTM", EMBEDDING_DIM=50, HIDDEN_DIM=8, PRETRAINED=source.run_id)
    dataset = cache.load(config)
    table, _ = vectors.load(config, dataset)
    model = classifier.build(config, table)
    shared = classifier_runs.start_from(classifier_runs.language_model(config), model, dataset.vocabulary)

    known = classifier_runs.read_vocabulary(classifier_runs.run_folder(source))
    assert shared == len(set(known) & set(dataset.vocabulary) - {"<pad>"})
    assert 0 < shared < len(dataset.vocabulary) - 1
    for number, word in enumerate(dataset.vocabulary):
        expected = (
            weights["embedding.weight"][known.index(word)] if word in known[1:] else torch.from_numpy(table[number])
        )
        torch.testing.assert_close(model.embedding.weight[number].detach(), expected)
    for name, weight in model.rnn.state_dict().items():
        torch.testing.assert_close(weight, weights[f"rnn.{name}"])


@pytest.mark.parametrize(("base", "layers"), [("LSTM", 1), ("RNN", 2), ("LSTM", 3)])
def test_a_bidirectional_classifier_starts_with_the_states_of_both_directions(base, layers):
    torch.manual_seed(0)
    source = LanguageModel(30, 6, 5, layers, 0.0, base, True, bidirectional=True).double()
    rnn = getattr(torch.nn, base)(6, 5, num_layers=layers, bidirectional=True).double()
    rnn.load_state_dict(classifier_runs.recurrent_weights(source.state_dict()))
    x = torch.randn(9, 4, 6, dtype=torch.float64)
    lengths = torch.tensor([9, 1, 4, 7])
    y, _ = recurrent.run(rnn, x, lengths)
    for column, length in enumerate(lengths):
        own = x[:length, [column]]
        states = torch.cat([source.rnn(own)[0], source.reverse(own.flip(0))[0].flip(0)], dim=2)
        torch.testing.assert_close(y[:length, [column]], states, rtol=1e-9, atol=1e-12)


def test_the_reverse_direction_learns_the_reviews_from_right_to_left(corpus):
    config = LanguageConfig(MODEL_BASE="LSTM", BIDIRECTIONAL=True, **SMALL)
    result = runs.run(config)
    assert result["run_id"] == "lm-lstm-1x2-50d-s2077-h8-b4-t5-m2000-lr0.01"
    _, model, _ = runs.load_run(classifier_runs.run_folder(config))
    valid = cache.load_language(config).valid
    loss, n = 0.0, 0
    for place in range(valid.n):
        inputs = torch.from_numpy(valid[place][::-1].astype(np.int64).copy())[
            :, None
        ]  # <eos> and the words, last first
        targets = torch.cat([inputs[1:], inputs[:1]])
        features, _ = model(inputs, reverse=True)
        loss -= model.softmax(features.flatten(0, 1), targets.flatten()).sum().item()
        n += len(inputs)
    assert result["reverse_perplexity"] == pytest.approx(np.exp(loss / n), rel=1e-5)
    assert result["reverse_perplexity"] < len(cache.load_language(config).vocabulary) / 2  # it has learnt something
    classifier = Config(
        MODEL_BASE="LSTM", BIDIRECTIONAL=True, EMBEDDING_DIM=50, HIDDEN_DIM=8, BATCH_SIZE=8, N_EPOCHS=1,
        PRETRAINED=config.run_id,
    )  # fmt: skip
    assert classifier_runs.run(classifier)["pretrained"]["run_id"] == config.run_id


def test_classifier_trains_from_it_under_a_name_of_its_own(corpus):
    source = LanguageConfig(MODEL_BASE="LSTM", **SMALL)
    runs.run(source)
    config = Config(
        MODEL_BASE="LSTM", EMBEDDING_DIM=50, HIDDEN_DIM=8, BATCH_SIZE=8, N_EPOCHS=1, PRETRAINED=source.run_id
    )
    result = classifier_runs.run(config)
    assert result["run_id"].endswith(f"-pre-{source.run_id}")
    assert result["pretrained"]["run_id"] == source.run_id
    assert classifier_runs.find_run("aclImdb").name == config.run_id  # a language model's loss is no classifier's
    with pytest.raises(LabError, match=r"已有：.*lstm-1x1"):
        classifier_runs.find_run("aclImdb", source.run_id)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (dict(PRETRAINED="lm-none"), "没有训练好的运行'lm-none'。已有：lm-lstm-1x1-50d-s2077.*lab lm"),
        (dict(BIDIRECTIONAL=True), "BIDIRECTIONAL是False，分类器的是True"),
        (dict(MODEL_BASE="RNN"), "MODEL_BASE是LSTM，分类器的是RNN"),
        (dict(HIDDEN_DIM=9), "HIDDEN_DIM是8，分类器的是9"),
        (dict(N_LAYERS=2), "N_LAYERS是1，分类器的是2"),
        (dict(SEED=1), "SEED是2077，分类器的是1"),
    ],
)
def test_a_language_model_that_does_not_fit_is_one_line(corpus, values, reason):
    source = LanguageConfig(MODEL_BASE="LSTM", **SMALL)
    folder = classifier_runs.run_folder(source)
    model = build(source, np.zeros((30, 50), dtype="f4"))
    classifier_runs.save_weights(
        folder, source, {name: value.clone() for name, value in model.state_dict().items()}, []
    )
    fitting = dict(MODEL_BASE="LSTM", EMBEDDING_DIM=50, HIDDEN_DIM=8, PRETRAINED=source.run_id)
    with pytest.raises(LabError, match=reason) as caught:
        classifier_runs.run(Config(**fitting | values))
    assert "\n" not in str(caught.value)


def test_a_name_that_leaves_the_folder_is_refused():
    with pytest.raises(LabError, match="PRETRAINED"):
        Config(PRETRAINED="../elsewhere")
