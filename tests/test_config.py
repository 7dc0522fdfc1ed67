"""Parameters: names, ranges, run ids, and typos that must not train the wrong model."""

from __future__ import annotations

import pytest

from lab import config as lab_config
from lab.config import PARAMETERS, Config
from lab.errors import LabError

# The lab sheet's table, written out a second time: the defaults are part of the experiment.
SHEET = dict(
    VOCAB_SIZE=400000, EMBEDDING_DIM=100, HIDDEN_DIM=64, N_LAYERS=1, BIDIRECTIONAL=False,
    DROPOUT=0.0, BATCH_SIZE=128, N_EPOCHS=10, MODEL_BASE="RNN", SEED=2077,
)  # fmt: skip


def test_defaults_are_the_lab_sheets():
    assert {name: value for name, value in Config().as_dict().items() if name in SHEET} == SHEET


@pytest.mark.parametrize(
    ("values", "run_id"),
    [
        ({}, "rnn-1x1-100d-s2077"),
        (dict(MODEL_BASE="LSTM", N_LAYERS=2, BIDIRECTIONAL=True), "lstm-2x2-100d-s2077"),
        (dict(VECTORS="random", SEED=1), "rnn-1x1-100d-s1-random"),
        (dict(DROPOUT=0.5, HIDDEN_DIM=128), "rnn-1x1-100d-s2077-h128-d0.5"),
    ],
)
def test_run_id(values, run_id):
    assert Config(**values).run_id == run_id


def test_run_ids_differ_wherever_a_parameter_changes_the_result():
    other = dict(
        VECTORS="random", VOCAB_SIZE=5000, EMBEDDING_DIM=300, HIDDEN_DIM=65, N_LAYERS=3, BIDIRECTIONAL=True,
        DROPOUT=0.1, BATCH_SIZE=64, N_EPOCHS=3, MODEL_BASE="LSTM", LEARNING_RATE=0.01, GRAD_CLIP=1.0, SEED=3,
        PRETRAINED="lm-rnn-1x1-100d-s2077",
    )  # fmt: skip
    assert set(PARAMETERS) - set(other) == {"DATASET", "DEVICE"}  # the folder, and where it runs
    ids = {Config(**{name: value}).run_id for name, value in other.items()}
    assert len(ids | {Config().run_id}) == len(other) + 1


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("N_LAYERS", "two", "1到32的整数"),
        ("N_LAYERS", 0, "1到32的整数"),
        ("N_LAYERS", 2.5, "1到32的整数"),
        ("N_LAYERS", True, "1到32的整数"),
        ("DROPOUT", 1.5, "[0, 1)内的小数"),
        ("DROPOUT", 1.0, "[0, 1)内的小数"),
        ("DROPOUT", float("nan"), "[0, 1)内的小数"),
        ("MODEL_BASE", "GRU", "RNN、LSTM"),
        ("BIDIRECTIONAL", 1, "True、False"),
        ("EMBEDDING_DIM", 128, "50、100、200、300"),
        ("DEVICE", "tpu", "auto、cpu、cuda"),
        ("SEED", -1, "0到4294967295"),
    ],
)
def test_bad_value_names_value_and_range(name, value, allowed):
    with pytest.raises(LabError) as caught:
        lab_config.from_dict({name: value})
    message = str(caught.value)
    assert name in message
    assert str(value) in message
    assert allowed in message
    assert "\n" not in message


def test_letter_case_is_free_where_a_choice_is_meant():
    assert Config(MODEL_BASE="lstm", DATASET="ACLIMDB", BIDIRECTIONAL="true") == Config(
        MODEL_BASE="LSTM", DATASET="aclImdb", BIDIRECTIONAL=True
    )


def test_unknown_name_proposes_the_nearest():
    with pytest.raises(LabError, match=r"N_LAYER的.*是不是想写N_LAYERS"):
        lab_config.from_dict({"N_LAYER": 2})


def test_notebook_refuses_what_papermill_injects_and_does_not_know():
    injected = "# Parameters\nN_LAYERS = 2\nn_layer = 3\n"
    with pytest.raises(LabError, match=r"n_layer的.*N_LAYERS"):
        lab_config.from_notebook({"N_LAYERS": 2, "n_layer": 3, "In": ["", injected]})


def test_notebook_refuses_a_slip_in_the_parameters_cell_but_not_a_variable_of_ones_own():
    with pytest.raises(LabError, match="N_LAYERS"):
        lab_config.from_notebook({"N_LAYERS": 1, "N_LAYER": 2})
    assert lab_config.from_notebook({"N_LAYERS": 3, "T": 5, "B": 2, "x": 1}).N_LAYERS == 3


def test_notebooks_own_parameters_are_known():
    own = {"N_LAYERS": 1, "REVIEW": 3, "In": ["# Parameters\nREVIEW = 3\n"]}
    assert lab_config.from_notebook(own, extra=("REVIEW",)).N_LAYERS == 1
    with pytest.raises(LabError, match="REVIEW"):
        lab_config.from_notebook(own)
