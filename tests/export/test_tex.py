"""Formulas in commands that JupyterLab's MathJax knows and pandoc does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import page, pdf, words

from lab.export import tex

FORMULAS = [  # a formula, what is read of it
    ("\\begin{align}a&=b\\notag\\\\c&=d\\nonumber\\end{align}", "a=bc=d"),
    ("$$a % 注释\n+b$$", "a+b"),
    (r"$\text{90% 与 90\%}$", "90%与90%"),
    (r"$$a\\[2pt]b$$", "ab"),
    (r"$\textcolor{red}{x+1}$", "x+1"),
    (r"${\rm d}x+\bf y$", "dx+y"),
    (r"$\frac{\it u}{v}$", "uv"),
    (r"${a \over b+1}$", "ab+1"),
    (r"$\cfrac{1}{2}+\dbinom{n}{k}$", "12+(nk)"),
    (r"$a\thinspace b\negthinspace c\thickspace d\space e$", "abcde"),
    (r"$\smash{x}\vphantom{\frac{a}{b}}+\large y\strut$", "x+y"),
    (r"$\fbox{z}$", "z"),
    (r"$\begin{vmatrix}a&b\end{vmatrix}$", "|ab|"),
    (r"$\begin{Vmatrix}a\end{Vmatrix}$", "‖a‖"),
    (r"$\llbracket a\rrbracket$", "⟦a⟧"),
    (r"$\def\R{\mathbb{R}}\R^n$", "Rn"),
]


@pytest.mark.parametrize("export", [page, pdf])
def test_commands_of_mathjax_are_set(export):
    text = words(export(*(f"起{at}止 {source}" for at, (source, _) in enumerate(FORMULAS))))
    for at, (source, read) in enumerate(FORMULAS):
        assert f"起{at}止{read}" in text.replace("\u2061", ""), source


@pytest.mark.parametrize("export", [page, pdf])
def test_macros_hold_for_all_later_formulas(export):
    text = words(
        export(
            "# 题\n$$\\newcommand{\\R}{\\mathbb{R}}\\newcommand\\up[1]{{#1}^{\\text{上}}}$$",
            "乙 $x\\in\\R$，$\\up{z}$，$\\Re$",
        )
    )
    assert "x∈R," in text
    assert "z上," in text


@given(st.lists(st.sampled_from([*"ab{}\\%$ \n", "\\over ", "\\rm ", "\\large"]), max_size=30))
def test_any_text_comes_to_an_end(pieces):
    assert tex.SWITCH.search(tex.readable("".join(pieces))) is None
