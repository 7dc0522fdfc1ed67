"""A review whose words are coloured by the change of probability that they bring."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

# Blue towards positive, orange towards negative: told apart by the colour-blind, black letters on both.
UP, DOWN = (86, 160, 219), (236, 151, 66)
FULL = 0.25  # a change of probability from here on has the full colour
LEAST = 0.02  # a smaller one has none


def colored(words: Sequence[str], probability: Sequence[float]) -> str:
    """HTML of ``words`` (T,), each with the probability of "positive" after it, (T,), as a hint; lines break anywhere."""
    return f'<p style="line-height: 1.9">{spans(words, probability, 0.5, html.escape)}</p>'


def spans(words: Sequence[str], probability: Sequence[float], before: float, escape: Callable[[str], str]) -> str:
    """The words of ``colored`` as HTML within a line; ``before`` is the probability before the first of them."""
    parts = []
    for word, now in zip(words, map(float, probability), strict=True):
        change, shown = now - before, escape(word)
        if abs(change) >= LEAST:
            ground = tint(UP if change > 0 else DOWN, min(1.0, abs(change) / FULL))
            hint = f"读到这里，正面的概率由{before:.0%}变为{now:.0%}"
            shown = f'<span style="background-color: {ground}; color: #000000" title="{hint}">{shown}</span>'
        parts.append(shown)
        before = now
    return " ".join(parts)


def tint(color: tuple[int, int, int], share: float) -> str:
    """``color`` mixed with white, as #rrggbb."""
    return "#" + "".join(f"{round(255 - (255 - part) * (0.2 + 0.8 * share)):02x}" for part in color)


def legend(probability: Sequence[float]) -> str:
    """The caption of a coloured review."""
    end = float(probability[-1])
    return (
        f"蓝色的词使正面的概率升高，橙色的词使它降低，颜色越深变化越大；读完时正面的概率是{end:.1%}，"
        f"判为{'正面' if end > 0.5 else '负面'}"
    )
