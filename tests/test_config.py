"""Parameters: names, ranges, run ids, and typos that must not train the wrong model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab import config as lab_config
from lab.config import PARAMETERS, Config, LanguageConfig
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
        (dict(DROPOUT=0.5, HIDDEN_DIM=128, N_LAYERS=2), "rnn-2x1-100d-s2077-h128-d0.5"),
        (dict(POOLING="Concat"), "rnn-1x1-100d-s2077-pool-concat"),
    ],
)
def test_run_id(values, run_id):
    assert Config(**values).run_id == run_id


def test_run_ids_differ_wherever_a_parameter_changes_the_result():
    other = dict(
        VECTORS="random", VOCAB_SIZE=5000, EMBEDDING_DIM=300, HIDDEN_DIM=65, N_LAYERS=3, BIDIRECTIONAL=True,
        DROPOUT=0.1, BATCH_SIZE=64, N_EPOCHS=3, MODEL_BASE="LSTM", LEARNING_RATE=0.01, GRAD_CLIP=1.0, SEED=3,
        PRETRAINED="lm-rnn-1x1-100d-s2077", POOLING="mean", HEAD_DROPOUT=0.5, LR_DECAY=True, ADVERSARIAL=1.2,
        VIRTUAL=1.2,
    )  # fmt: skip
    assert set(PARAMETERS) - set(other) == {"DATASET", "DEVICE"}  # the folder, and where it runs
    base = Config(N_LAYERS=2)  # dropout lies between layers
    ids = {replace(base, **{name: value}).run_id for name, value in other.items()}
    assert len(ids | {base.run_id}) == len(other) + 1


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


def test_dropout_without_a_place_is_refused():
    with pytest.raises(LabError, match=r"DROPOUT的值0\.5不起作用.*N_LAYERS"):
        Config(DROPOUT=0.5)
    assert Config(DROPOUT=0.5, N_LAYERS=2).DROPOUT == LanguageConfig(DROPOUT=0.5).DROPOUT == 0.5


@pytest.mark.parametrize(("name", "text", "value"), [("LEARNING_RATE", "1e-3", 1e-3), ("HIDDEN_DIM", "1e2", 100)])
def test_numbers_that_yaml_reads_as_text(name, text, value):
    assert getattr(lab_config.from_dict({name: text}), name) == value


def notebook(*cells, **variables):
    """What a kernel knows after ``cells``, the last of which asks for the configuration."""
    return variables | {"In": ["", *cells, "config = lab_config.from_notebook(globals())"]}


PARAMETERS_CELL = "DATASET: str = 'aclImdb'  # ...\nN_LAYERS: int = 1  # ...\nSEED: int = 2077\n"


def test_notebook_refuses_what_papermill_injects_and_does_not_know():
    injected = "# Parameters\nN_LAYERS = 2\nn_layer = 3\n"
    with pytest.raises(LabError, match=r"n_layer的.*N_LAYERS"):
        lab_config.from_notebook(notebook(PARAMETERS_CELL, injected, N_LAYERS=2))


@pytest.mark.parametrize(
    "slip", ["n_layers = 2", "LR = 0.01", "HIDDEN = 128", "a, LAYERS = 1, 2", "x: int = 3", "x = y = 2"]
)
def test_notebook_refuses_any_new_name_in_the_parameters_cell(slip):
    wrong = next(name for name in ("n_layers", "LR", "HIDDEN", "LAYERS", "x") if name in slip)
    with pytest.raises(LabError, match=f"没有名为{wrong}的参数") as caught:
        lab_config.from_notebook(notebook(PARAMETERS_CELL + slip, N_LAYERS=1))
    assert "\n" not in str(caught.value)


def test_notebook_refuses_a_slip_in_any_cell_but_not_a_variable_of_ones_own():
    with pytest.raises(LabError, match="N_LAYERS"):
        lab_config.from_notebook(notebook(PARAMETERS_CELL, "N_LAYER = 2", N_LAYERS=1))
    own = notebook("%time x = 1", PARAMETERS_CELL, "T, B = 5, 2\nx = 1", N_LAYERS=3)
    assert lab_config.from_notebook(own).N_LAYERS == 3


def test_a_corrected_slip_is_gone_and_an_uncorrected_one_is_not():
    kernel = notebook(PARAMETERS_CELL + "LR = 0.01", N_LAYERS=1)
    for cells in ([], ["config = lab_config.from_notebook(globals())"], ["x = 1", "config = ..."]):
        kernel["In"] += cells  # the same cell again, or one of one's own: nothing was corrected
        with pytest.raises(LabError, match="LR"):
            lab_config.from_notebook(kernel)
    kernel["In"] += [PARAMETERS_CELL + "LEARNING_RATE = 0.01", "config = ..."]
    assert lab_config.from_notebook(kernel | {"LEARNING_RATE": 0.01}).LEARNING_RATE == 0.01


def test_notebooks_own_parameters_are_known():
    own = notebook("# Parameters\nREVIEW = 3\n", N_LAYERS=1, REVIEW=3)
    assert lab_config.from_notebook(own, extra=("REVIEW",)).N_LAYERS == 1
    with pytest.raises(LabError, match="REVIEW"):
        lab_config.from_notebook(own)
