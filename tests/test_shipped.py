"""The model that comes with the project: small, as accurate as it says, right about plain sentences."""

import numpy as np
import pytest
from click.testing import CliRunner

from lab import files, shipped
from lab.cli import main
from lab.config import Config
from lab.model import classifier
from lab.training import runs

SENTENCES = [
    ("A wonderful film.", True),
    ("I loved every minute of it.", True),
    ("One of the best movies I have ever seen.", True),
    ("The acting is superb and the story is moving.", True),
    ("A beautiful, touching film with great performances.", True),
    ("Funny, clever and never boring.", True),
    ("I was not disappointed: it is excellent.", True),
    ("Not a single dull moment, highly recommended.", True),
    ("An amazing cast and a brilliant script.", True),
    ("It made me laugh and it made me cry; a perfect evening.", True),
    ("The slow beginning is forgotten once the wonderful second half starts.", True),
    ("Although the effects are dated, the film is still great fun.", True),
    ("My favorite film of the year.", True),
    ("A masterpiece.", True),
    ("Great music, great dancing, great fun for the whole family.", True),
    ("I have seen it ten times and it is still fantastic.", True),
    ("The director has done an outstanding job.", True),
    ("It is well worth watching.", True),
    ("A terrible film.", False),
    ("I hated every minute of it.", False),
    ("One of the worst movies I have ever seen.", False),
    ("The acting is awful and the story makes no sense.", False),
    ("A dull, pointless film with poor performances.", False),
    ("Boring, stupid and far too long.", False),
    ("It is not funny and it is not interesting.", False),
    ("I do not recommend this film; it is a waste of time.", False),
    ("A bad script and even worse acting.", False),
    ("I fell asleep after half an hour.", False),
    ("The wonderful cast cannot save this awful script.", False),
    ("A great idea, but the result is a boring mess.", False),
    ("The worst film of the year.", False),
    ("A complete disaster.", False),
    ("Cheap effects, terrible dialogue and no plot at all.", False),
    ("I want my money back.", False),
    ("The director should be ashamed of this garbage.", False),
    ("Avoid it at all costs.", False),
]


@pytest.fixture(scope="module")
def comes_with_it():
    return runs.load_run(runs.SHIPPED)


def test_it_is_small_and_says_how_accurate_it_is():
    facts = files.read_json(runs.SHIPPED / "facts.json")
    assert sum(path.stat().st_size for path in runs.SHIPPED.iterdir()) < 8_100_000
    assert facts["words"] == len(runs.read_vocabulary(runs.SHIPPED))
    result = files.read_json(files.PROJECT / "report" / "results" / "aclImdb" / f"{facts['run_id']}.json")
    assert facts["accuracy"] == result["test"]["accuracy"]
    assert facts["shipped_accuracy"] == pytest.approx(facts["accuracy"], abs=0.002)


def test_plain_sentences(comes_with_it):
    _, model, vocabulary = comes_with_it
    wrong = [text for text, positive in SENTENCES if (classifier.predict(model, vocabulary, text) > 0.5) != positive]
    assert len(wrong) <= 3, wrong


def test_it_answers_where_nothing_was_prepared_or_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    done = CliRunner().invoke(main, ["predict", "A", "wonderful", "film."])
    assert (done.exit_code, done.stdout[-6:]) == (0, "判为正面。\n")
    assert not list(tmp_path.iterdir())


def test_shrunk_model_judges_as_the_whole_one_where_all_words_fit(corpus, tmp_path, monkeypatch):
    config = Config(EMBEDDING_DIM=50, HIDDEN_DIM=8, BATCH_SIZE=8, N_EPOCHS=2, LEARNING_RATE=0.01)
    accuracy = runs.run(config)["test"]["accuracy"]
    monkeypatch.setattr(runs, "SHIPPED", tmp_path / "model")
    facts = shipped.write(runs.run_folder(config))
    _, whole, vocabulary = runs.load_run(runs.run_folder(config))
    _, small, words = runs.load_run(tmp_path / "model")
    assert words == vocabulary
    assert facts["shipped_accuracy"] == pytest.approx(accuracy, abs=0.05)
    for name, value in small.state_dict().items():
        np.testing.assert_allclose(value, whole.state_dict()[name], rtol=1e-3, atol=1e-6)
    monkeypatch.setattr(shipped, "LIMIT", facts["bytes"] - 2000 + 20_000)
    fewer = shipped.write(runs.run_folder(config))["words"]
    assert 10 < fewer < len(vocabulary)
    assert runs.read_vocabulary(tmp_path / "model") == vocabulary[:fewer]


# Reviews from elsewhere


@pytest.fixture
def elsewhere(tmp_path):
    for name, positive in (("pos", True), ("neg", False)):
        (tmp_path / "films" / name).mkdir(parents=True)
        for at, text in enumerate(text for text, label in SENTENCES if label == positive):
            (tmp_path / "films" / name / f"review {at}.txt").write_text(text, encoding="utf-8")
    return tmp_path / "films"


def test_a_folder_of_other_reviews_is_judged(elsewhere, comes_with_it):
    _, model, vocabulary = comes_with_it
    expected = np.mean([(classifier.predict(model, vocabulary, text) > 0.5) == label for text, label in SENTENCES])
    done = CliRunner().invoke(main, ["evaluate", str(elsewhere)])
    assert done.exit_code == 0
    said = done.stdout
    assert "36篇影评，其中正面18篇" in said
    assert f"准确率{expected:.1%}（95%置信区间" in said
    assert said.count("误判") == round(36 * (1 - expected))
    for wrong in (line for line in said.splitlines() if "误判" in line):
        label, name = wrong.split("误判")[1].split("，")[0].split("/")
        text = (elsewhere / label / name).read_text(encoding="utf-8")
        assert text.split()[0].strip(",").lower() in wrong


def test_a_folder_that_does_not_fit_is_one_line(elsewhere):
    def said(folder):
        done = CliRunner().invoke(main, ["evaluate", str(folder)])
        assert done.exit_code == 1
        return done.stderr.splitlines()[-1]

    assert "请在" in said(elsewhere / "pos")
    (elsewhere / "pos" / "empty.txt").write_text(" ")
    assert "pos/empty.txt是空的" in said(elsewhere)
    (elsewhere / "pos" / "empty.txt").write_bytes(b"caf\xe9")
    assert "第4个字节不是UTF-8编码" in said(elsewhere)
