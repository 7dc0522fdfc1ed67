"""All parameters of the lab in one table: name, default, allowed values, meaning; and their validation."""

from __future__ import annotations

import ast
import difflib
import math
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from lab.errors import LabError

DATASETS = ("aclImdb", "sample")
GLOVE_DIMS = {"aclImdb": (50, 100, 200, 300), "sample": (100, 300)}


def parameter(default, meaning: str, *, tag: str = "", low=None, high=None, choices=None, open_high=False):
    """A dataclass field that carries what validation, run ids and help texts need.

    ``tag`` is the prefix with which a value other than the default enters the run id.
    """
    if choices:
        allowed = "、".join(str(choice) for choice in choices)
    elif isinstance(default, bool):
        allowed = "True、False"
    elif isinstance(default, str):
        allowed = "由字母、数字、点和连字符组成的名字"
    else:
        kind = "整数" if isinstance(default, int) else "小数"
        allowed = f"[{low:g}, {high:g})内的{kind}" if open_high else f"{low}到{high}的{kind}"
    facts = dict(meaning=meaning, tag=tag, low=low, high=high, choices=choices, open_high=open_high, allowed=allowed)
    return field(default=default, metadata=facts)


class Parameters:
    """What every table of parameters can do: check its values, give the run a name, become JSON."""

    def __post_init__(self):
        for each in fields(self):
            value = _checked(each.name, getattr(self, each.name), each.default, each.metadata)
            object.__setattr__(self, each.name, value)
        dims = GLOVE_DIMS[self.DATASET]
        if self.VECTORS == "glove.6B" and self.EMBEDDING_DIM not in dims:
            raise LabError(
                f"参数EMBEDDING_DIM的值{self.EMBEDDING_DIM}不可用：数据集{self.DATASET}的glove.6B词向量只有"
                f"{'、'.join(map(str, dims))}维。请改用其中之一，或设VECTORS='random'。"
            )

    @property
    def n_directions(self) -> int:
        """2 when bidirectional, else 1."""
        return 2 if self.BIDIRECTIONAL else 1

    @property
    def run_id(self) -> str:
        """Readable name of the run: ``lstm-2x2-100d-s2077``, then every other value that is not the default."""
        parts = [
            self.MODEL_BASE.lower(),
            f"{self.N_LAYERS}x{self.n_directions}",
            f"{self.EMBEDDING_DIM}d",
            f"s{self.SEED}",
        ]
        if self.VECTORS == "random":
            parts.append("random")
        for each in fields(self):
            value = getattr(self, each.name)
            if (tag := each.metadata["tag"]) and value != each.default:
                shown = "" if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else value
                parts.append(f"{tag}{shown}")
        return "-".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Parameter names and values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Config(Parameters):
    """The parameters of one run of the classifier, with the lab sheet's names and defaults."""

    DATASET: str = parameter("aclImdb", "数据集：aclImdb（真实影评）或sample（内置的合成影评）", choices=DATASETS)
    VECTORS: str = parameter("glove.6B", "词向量：glove.6B或random（随机）", choices=("glove.6B", "random"))
    VOCAB_SIZE: int = parameter(400000, "词表最多保留的词数", tag="v", low=10, high=10_000_000)
    EMBEDDING_DIM: int = parameter(100, "词向量维数；glove.6B有50、100、200、300维", low=1, high=4096)
    HIDDEN_DIM: int = parameter(64, "隐藏状态的维数", tag="h", low=1, high=8192)
    N_LAYERS: int = parameter(1, "循环层数", low=1, high=32)
    BIDIRECTIONAL: bool = parameter(False, "是否双向")
    DROPOUT: float = parameter(0.0, "循环层之间的dropout率", tag="d", low=0.0, high=1.0, open_high=True)
    BATCH_SIZE: int = parameter(128, "每批影评数", tag="b", low=1, high=100_000)
    N_EPOCHS: int = parameter(10, "训练轮数", tag="e", low=1, high=1000)
    MODEL_BASE: str = parameter("RNN", "循环层：RNN（Elman）或LSTM，大小写不限", choices=("RNN", "LSTM"))
    LEARNING_RATE: float = parameter(1e-3, "Adam的学习率", tag="lr", low=1e-8, high=10.0)
    GRAD_CLIP: float = parameter(0.0, "梯度裁剪的范数上限，0为不裁剪", tag="clip", low=0.0, high=1e6)
    POOLING: str = parameter(
        "last",
        "由各步状态得到一个向量：last（最后一个）、mean（平均）或concat（最后一个、平均与最大值拼接）",
        tag="pool-",
        choices=("last", "mean", "concat"),
    )
    HEAD_DROPOUT: float = parameter(0.0, "输出层之前的dropout率", tag="hd", low=0.0, high=1.0, open_high=True)
    LR_DECAY: bool = parameter(False, "学习率是否逐步线性降到0", tag="decay")
    ADVERSARIAL: float = parameter(0.0, "对抗训练中每篇影评词向量扰动的范数，0为不用", tag="adv", low=0.0, high=1e6)
    VIRTUAL: float = parameter(
        0.0, "虚拟对抗训练中每篇无标签影评词向量扰动的范数，0为不用", tag="vat", low=0.0, high=1e6
    )
    PRETRAINED: str = parameter("", "用来初始化的语言模型的运行名，留空则不用", tag="pre-")
    SEED: int = parameter(2077, "随机种子", low=0, high=2**32 - 1)
    DEVICE: str = parameter("auto", "计算设备：auto、cpu或cuda", choices=("auto", "cpu", "cuda"))

    def __post_init__(self):
        super().__post_init__()
        if self.DROPOUT and self.N_LAYERS == 1:
            raise LabError(
                f"参数DROPOUT的值{self.DROPOUT:g}不起作用：dropout加在循环层之间，而N_LAYERS=1时只有一层。"
                "请设DROPOUT=0，或把N_LAYERS设为2以上。"
            )


@dataclass(frozen=True)
class LanguageConfig(Parameters):
    """The parameters of one run of the language model."""

    DATASET: str = parameter("aclImdb", "数据集：aclImdb（真实影评）或sample（内置的合成影评）", choices=DATASETS)
    VECTORS: str = parameter("glove.6B", "词向量：glove.6B或random（随机）", choices=("glove.6B", "random"))
    VOCAB_SIZE: int = parameter(20000, "词表最多保留的词数", tag="v", low=10, high=10_000_000)
    EMBEDDING_DIM: int = parameter(100, "词向量维数；glove.6B有50、100、200、300维", low=1, high=4096)
    HIDDEN_DIM: int = parameter(64, "隐藏状态的维数", tag="h", low=1, high=8192)
    N_LAYERS: int = parameter(1, "循环层数", low=1, high=32)
    BIDIRECTIONAL: bool = parameter(False, "是否另训练一个从右往左读的循环层，与前者共用词嵌入和输出层")
    DROPOUT: float = parameter(
        0.0, "词嵌入之后、循环层之间与输出之前的dropout率", tag="d", low=0.0, high=1.0, open_high=True
    )
    TIED: bool = parameter(True, "输出层是否与词嵌入共用权重", tag="untied")
    BATCH_SIZE: int = parameter(64, "并排读的文本流数", tag="b", low=1, high=100_000)
    BPTT_LEN: int = parameter(35, "截断BPTT每次展开的步数", tag="t", low=1, high=10_000)
    MAX_TOKENS: int = parameter(30_000_000, "训练词元数的预算", tag="m", low=1, high=10**12)
    N_EPOCHS: int = parameter(5, "训练文本最多读几遍；预算先用完则提前结束", tag="e", low=1, high=1000)
    MODEL_BASE: str = parameter("RNN", "循环层：RNN（Elman）或LSTM，大小写不限", choices=("RNN", "LSTM"))
    LEARNING_RATE: float = parameter(5e-3, "Adam的初始学习率，随预算线性降到0", tag="lr", low=1e-8, high=10.0)
    GRAD_CLIP: float = parameter(1.0, "梯度裁剪的范数上限，0为不裁剪", tag="clip", low=0.0, high=1e6)
    SEED: int = parameter(2077, "随机种子", low=0, high=2**32 - 1)
    DEVICE: str = parameter("auto", "计算设备：auto、cpu或cuda", choices=("auto", "cpu", "cuda"))

    def __post_init__(self):
        super().__post_init__()
        step = self.BATCH_SIZE * self.BPTT_LEN
        if self.MAX_TOKENS < step:
            raise LabError(
                f"参数MAX_TOKENS的值{self.MAX_TOKENS}不可用：预算不足一个训练步，一步要BATCH_SIZE×BPTT_LEN={step}个词元。"
                "请加大MAX_TOKENS，或减小另外两个。"
            )

    @property
    def run_id(self) -> str:
        """As of the classifier, after ``lm-``."""
        return f"lm-{super().run_id}"


PARAMETERS = {each.name: each for each in fields(Config)}
LANGUAGE_PARAMETERS = {each.name: each for each in fields(LanguageConfig)}


def _checked(name: str, value, default, facts):
    """Return ``value`` in the type of ``default``, or raise a ``LabError`` with value and allowed range."""
    wrong = LabError(f"参数{name}的值{value!r}不可用：允许{facts['allowed']}。")
    if isinstance(default, bool):
        if isinstance(value, str) and value.lower() in ("true", "false"):
            value = value.lower() == "true"
        if not isinstance(value, bool):
            raise wrong
        return value
    if isinstance(default, str):
        if facts["choices"] is None and isinstance(value, str) and re.fullmatch(r"[\w.-]*", value):
            return value
        for choice in facts["choices"] or ():
            if isinstance(value, str) and value.lower() == choice.lower():
                return choice
        raise wrong
    if isinstance(value, str):  # YAML 1.1, and so papermill, reads 1e-3 as text: a number has a dot there
        try:
            value = float(value)
        except ValueError:
            raise wrong from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong
    if isinstance(default, int):
        if value != int(value) if math.isfinite(value) else True:
            raise wrong
        value = int(value)
    low, high = facts["low"], facts["high"]
    if not (low <= value <= high) or (facts["open_high"] and value == high):
        raise wrong
    return type(default)(value)


def from_dict(values: dict[str, Any], kind: type[Parameters] = Config) -> Parameters:
    """Make a ``Config``, or another ``kind``, from names and values.

    An unknown name is a ``LabError`` that proposes the nearest.
    """
    known = [each.name for each in fields(kind)]
    for name in values:
        if name not in known:
            raise LabError(unknown_parameter(name, known))
    return kind(**values)


def unknown_parameter(name: str, known) -> str:
    """The Chinese line for a name that is no parameter, with the nearest one proposed."""
    close = difflib.get_close_matches(name.upper(), list(known), n=1, cutoff=0.6)
    hint = f"是不是想写{close[0]}？" if close else ""
    return f"没有名为{name}的参数。{hint}可用的参数：{'、'.join(known)}。"


def from_notebook(
    namespace: dict[str, Any], extra: tuple[str, ...] = (), kind: type[Parameters] = Config
) -> Parameters:
    """Make a ``Config`` (or another ``kind``) from a notebook's variables (``globals()``), refusing misspelt ones.

    ``extra`` names the notebook's parameters that are not the run's. papermill only warns of parameters that
    a notebook does not have (nteract/papermill#818, #869); here they are errors.
    """
    names = [each.name for each in fields(kind)]
    check_names(namespace, names + list(extra))
    return kind(**{name: namespace[name] for name in names if name in namespace})


def check_int(name: str, value, low: int, high: int) -> int:
    """Check a notebook's own parameter that is an integer from ``low`` to ``high``; else a ``LabError``."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise LabError(f"参数{name}的值{value!r}不可用：允许{low}到{high}的整数。")
    return value


def check_names(namespace: dict[str, Any], known) -> None:
    """Raise a ``LabError`` for the variables of a notebook that look like parameters and are none.

    Read is what the kernel has executed (``In``): in a cell that sets a parameter, and in one that papermill injected,
    every name must be known; in any other, a capitalised name must not be nearly a parameter's. After a
    refusal, once a cell that sets parameters has run again, only the cells since then count: a corrected slip is gone.
    """
    known = dict.fromkeys(known)  # a set that keeps its order, for the message
    cells = [(assigned_names(cell), cell.startswith("# Parameters\n")) for cell in namespace.get("In", [])]
    cells = [(names, injected or not names.isdisjoint(known)) for names, injected in cells]
    since = cells[namespace.get("_refused_at", 0) :]
    wrong = [
        name
        for names, sets_parameters in (since if any(sets for _, sets in since) else cells)
        for name in sorted(names - known.keys())
        if sets_parameters or is_slip(name, known)
    ]
    if wrong:
        namespace["_refused_at"] = len(cells)
        raise LabError("".join(unknown_parameter(name, known) for name in dict.fromkeys(wrong)))


def assigned_names(cell: str) -> set[str]:
    """The public names that the statements of a notebook's cell assign to; none where it is not Python."""
    try:
        statements = ast.parse(cell).body
    except SyntaxError:
        return set()
    nodes = [
        node
        for each in statements
        if isinstance(each, (ast.Assign, ast.AnnAssign, ast.AugAssign))
        for node in ast.walk(each)
    ]
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return {name for name in stored if not name.startswith("_")}


def is_slip(name: str, known) -> bool:
    """Whether a capitalised name is nearly, but not quite, a parameter's."""
    return name.isupper() and bool(difflib.get_close_matches(name, list(known), n=1, cutoff=0.8))
