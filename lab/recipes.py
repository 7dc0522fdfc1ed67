"""The way from the lab sheet's LSTM to the strongest classifier, step by step; each step keeps those before it.

Chosen on validation with seed 2077. Sources: a language model to start from (Dai & Le 2015), all states instead of the last
alone (Johnson & Zhang 2016), adversarial training (Miyato et al. 2017).
"""

from __future__ import annotations

from typing import NamedTuple

from lab.config import Config, LanguageConfig

LSTM = dict(MODEL_BASE="LSTM")
LARGE = LSTM | dict(HIDDEN_DIM=256, N_EPOCHS=5)
POOLED = LARGE | dict(POOLING="concat", HEAD_DROPOUT=0.5, BATCH_SIZE=64, LR_DECAY=True)
LANGUAGE = LSTM | dict(HIDDEN_DIM=256, MAX_TOKENS=60_000_000)


class Step(NamedTuple):
    """What a step adds, and the parameters of its classifier and of the language model that it starts from."""

    name: str
    classifier: dict
    language: dict | None


STEPS = (
    Step("只用词向量（实验表的LSTM 1-1）", LSTM, None),
    Step("以语言模型初始化", LSTM, LSTM),
    Step("隐藏单元由64个增至256个，语言模型训练用的词元由3千万增至6千万", LARGE, LANGUAGE),
    Step("汇聚全部状态，输出层之前dropout，学习率降到0", POOLED, LANGUAGE),
    Step("对抗训练", POOLED | dict(ADVERSARIAL=1.2), LANGUAGE),
)


def configs(step: Step, dataset: str, seed: int) -> tuple[Config, LanguageConfig | None]:
    """The classifier of a step, and the language model that it starts from."""
    common = dict(DATASET=dataset, SEED=seed)
    if step.language is None:
        return Config(**step.classifier, **common), None
    language = LanguageConfig(**step.language, **common)
    return Config(PRETRAINED=language.run_id, **step.classifier, **common), language
