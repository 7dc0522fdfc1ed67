"""Result files: packed and unpacked, read whole or refused in one line that names file and key."""

import copy
import json
import os

import numpy as np
import pytest
from conftest import tracked_results
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made import run

from lab import files, record
from lab.config import Config, LanguageConfig, from_dict
from lab.errors import LabError

BITS = st.lists(st.booleans(), min_size=1, max_size=200)
MUTANTS = int(os.environ.get("LAB_MUTANTS", 100))


@given(BITS)
def test_bits_survive(bits):
    packed = json.loads(json.dumps(record.pack_bits(np.array(bits))))
    assert record.unpack_bits(packed, len(bits)).tolist() == bits


def test_bits_are_readable_by_hand():
    assert record.pack_bits([False, True, False, False, False, False, False, True]) == "QQ=="  # 0x41


@pytest.mark.parametrize("n", [0, 8, 17])
def test_another_number_of_bits_is_refused(n):
    with pytest.raises(ValueError, match="字节"):
        record.unpack_bits(record.pack_bits([True] * 9), n)


def whole(**settings) -> dict:
    """A complete result file, which reads."""
    result = run(0.8, N_EPOCHS=4, **settings)
    result["data"] |= dict(dataset="aclImdb", sizes=dict(train=3, valid=1, test=2000), vocab_size=9)
    losses = (0.5, 0.4, 0.6, 0.7)
    result["history"] = [
        dict(epoch=at, train_loss=0.5, valid_loss=loss, valid_accuracy=0.81, seconds=1.0)
        for at, loss in enumerate(losses, 1)
    ]
    result["valid"] = dict(loss=0.4, accuracy=0.81)
    machine = dict(versions={"python": "3"}, processor="x", threads=1, memory=None)
    return result | machine | dict(schema=record.SCHEMA, finished="2026-01-01T00:00:00+00:00")


def spoken() -> dict:
    """A complete result file of an n-gram model."""
    loss, lengths = np.array([3.0, 5.0]), np.array([1, 3])
    part = dict(
        loss=2.0,
        perplexity=float(np.exp(2.0)),
        n_tokens=4,
        unknown=0.1,
        review_loss=record.pack(loss, "<f4"),
        review_tokens=record.pack(lengths, "<u2"),
    )
    data = dict(dataset="aclImdb", fingerprint="f", sizes=dict(train=5, valid=2), vocab_size=9)
    facts = {name: value for name, value in whole().items() if name in record.MACHINE}
    return facts | dict(kind="ngram", run_id="lm-ngram-s1", data=data, unigram=part, trigram=copy.deepcopy(part))


def written(result: dict, tmp_path, name=None):
    path = tmp_path / f"{name or result['run_id']}.json"
    path.write_text(json.dumps(result), encoding="utf-8")
    return path


def test_complete_files_read(tmp_path):
    for result in (whole(), spoken()):
        assert record.read(written(result, tmp_path)) == result


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.pop("seconds"), "seconds缺少"),
        (lambda r: r["data"].pop("vectors"), "vectors缺少"),
        (lambda r: r["test"].update(n="2000"), "test.n的值'2000'不可用"),
        (lambda r: r["test"].update(accuracy=0.81), "test.accuracy是0.81"),
        (lambda r: r["test"].update(right=r["test"]["right"][:-8]), "test.right不能解码"),
        (lambda r: r["test"].update(right="###"), "test.right不能解码"),
        (lambda r: r["test"].update(n=1999), "test.probability不能解码"),
        (lambda r: r["test"].update(probability=record.pack(np.full(2000, 7.0), "<f2")), "test.probability含有"),
        (lambda r: r["data"]["sizes"].update(test=3), "test.n是2000"),
        (lambda r: r.update(best_epoch=3), "best_epoch是3"),
        (lambda r: r.update(best_epoch=2.0), "best_epoch的值'2.0'不可用"),
        (lambda r: r["test"].update(n=2000.0), "test.n的值'2000.0'不可用"),
        (lambda r: r["data"]["sizes"].update(train=3.0), "data.sizes.train的值'3.0'不可用"),
        (lambda r: r.update(schema=1.0), "schema的值'1.0'不可用"),
        (lambda r: r["valid"].update(loss=0.1), "valid与选中的一轮不符"),
        (lambda r: r["history"].pop(), "history应有第1到4轮"),
        (lambda r: r["config"].update(MODEL_BASE="LSTM"), "config与运行名"),
        (lambda r: r["config"].update(N_LAYERS=0), "config不可用"),
        (lambda r: r["config"].update(LAYERS=1), "config不可用"),
        (lambda r: r.update(kind="clasifier"), "kind是'clasifier'"),
        (lambda r: r.pop("kind"), "kind缺少"),
        (lambda r: r.update(schema=2), "格式版本是2"),
        (lambda r: r["data"].update(dataset="sample"), "data.dataset"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, words):
    result = whole()
    name = result["run_id"]
    change(result)
    with pytest.raises(LabError) as caught:
        record.read(written(result, tmp_path, name))
    assert words in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("data", lambda r: r.pop("sizes"), "sizes缺少"),
        ("data", lambda r: r.update(tokens=1), "tokens的值'1'不可用"),
        ("data", lambda r: r["sizes"].pop("test"), "与sizes.test不符"),
        ("data", lambda r: r.update(test_lengths="QQ=="), "与sizes.test不符"),
        ("traces", lambda r: r.pop("reviews"), "reviews缺少"),
        ("traces", lambda r: r["reviews"][0]["probability"].pop("LSTM"), "reviews.0.probability.LSTM缺少"),
    ],
)
def test_files_beside_the_results_are_checked_too(tmp_path, name, change, words):
    result = files.read_json(files.PROJECT / f"report/results/aclImdb/{name}.json")
    change(result)
    with pytest.raises(LabError) as caught:
        record.read(written(result, tmp_path, name))
    assert words in str(caught.value)
    assert f"{name}.json" in str(caught.value)


def test_another_name_and_other_losses_are_refused(tmp_path):
    with pytest.raises(LabError, match="与文件名不符"):
        record.read(written(whole(), tmp_path, "rnn-2x1-100d-s2077"))
    result = spoken()
    result["trigram"]["perplexity"] = 7.0
    with pytest.raises(LabError, match=r"trigram\.perplexity"):
        record.read(written(result, tmp_path))
    (tmp_path / "x.json").write_text('{"kind": NaN}')
    with pytest.raises(LabError, match="NaN"):
        record.read(tmp_path / "x.json")


def places(node, path=()):
    """The paths of all values below ``node``."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        yield from places(child, (*path, key))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_subnormal=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=MUTANTS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutants_are_read_rightly_or_refused_in_one_line(tmp_path, data):
    original = data.draw(st.sampled_from([whole(), spoken()]))
    mutant = copy.deepcopy(original)
    *path, key = data.draw(st.sampled_from([place for place in places(mutant) if place]))
    holder = mutant
    for step in path:
        holder = holder[step]
    kind = data.draw(st.sampled_from(["delete", "replace", "near"]))
    if kind == "delete":
        del holder[key]
    elif kind == "near" and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
        holder[key] = data.draw(st.sampled_from([holder[key] + 1, -holder[key], holder[key] * 1.01, 0]))
    elif kind == "near" and isinstance(holder[key], str) and holder[key]:
        at = data.draw(st.integers(0, len(holder[key]) - 1))
        holder[key] = holder[key][:at] + data.draw(st.sampled_from(["", "x", "="])) + holder[key][at + 1 :]
    else:
        holder[key] = data.draw(JSON)
    file = written(mutant, tmp_path, original["run_id"])
    found, refusal = None, ""
    try:
        found = record.read(file)
    except LabError as error:
        refusal = str(error)
    if found is None:
        assert str(file) in refusal
        assert "\n" not in refusal
        return
    if "config" in mutant:
        kind = Config if mutant["kind"] == "classifier" else LanguageConfig
        mutant["config"] = from_dict(mutant["config"], kind).as_dict()
    assert found == mutant
    if "test" in found:
        assert record.right(found).mean() == pytest.approx(found["test"]["accuracy"], abs=1e-9)
        assert len(record.probabilities(found)) == found["test"]["n"]


def test_tracked_files_read(monkeypatch):
    monkeypatch.delenv("LAB_HOME", raising=False)
    for path in tracked_results():
        record.read(path)


def test_a_parameter_that_came_later_has_its_default(home):
    tracked = files.PROJECT / "report" / "results" / "aclImdb" / "lstm-1x1-100d-s2077.json"
    assert "POOLING" not in files.read_json(tracked)["config"]
    assert record.read(tracked)["config"]["POOLING"] == "last"
