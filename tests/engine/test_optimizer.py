"""The blockwise Adam against torch.optim.Adam: the same bits."""

import pytest
import torch
from torch import nn

from lab.engine.optimizer import BLOCK, Adam

pytestmark = pytest.mark.usefixtures("two_threads")


def parameters(seed=0):
    """Shapes below, at and above a block; the large ones have mostly zero gradients."""
    torch.manual_seed(seed)
    shapes = [(1,), (7, 3), (BLOCK,), (BLOCK + 1,), (BLOCK * 30 // 50 + 17, 50)]
    return [nn.Parameter(torch.randn(shape)) for shape in shapes]


def set_gradients(models, seed):
    """The same gradients for both lists: few rows of the table are touched, one parameter sometimes not at all."""
    torch.manual_seed(seed)
    for number, pair in enumerate(zip(*models, strict=True)):
        gradient = torch.randn_like(pair[0]) * 10.0 ** torch.randint(-6, 1, ()).item()
        if gradient.dim() == 2:
            gradient[torch.rand(len(gradient)) < 0.9] = 0
        for parameter in pair:
            parameter.grad = None if number == 1 and seed % 3 == 0 else gradient.clone()


@pytest.mark.parametrize("options", [{}, {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-5}])
def test_same_bits_as_torch(options):
    mine, theirs = parameters(), parameters()
    ours, plain = Adam(mine, **options), torch.optim.Adam(theirs, foreach=False, **options)
    for step in range(12):
        set_gradients((mine, theirs), step)
        ours.step()
        plain.step()
    for a, b in zip(mine, theirs, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(ours.state[a]["exp_avg"], plain.state[b]["exp_avg"])
        assert torch.equal(ours.state[a]["exp_avg_sq"], plain.state[b]["exp_avg_sq"])
        assert torch.equal(ours.state[a]["step"], plain.state[b]["step"])


@pytest.mark.parametrize(("first", "second"), [(Adam, torch.optim.Adam), (torch.optim.Adam, Adam)])
def test_state_moves_between_the_two(first, second):
    mine, theirs = parameters(), parameters()
    one, plain = first(mine), torch.optim.Adam(theirs)
    for step in range(1, 4):
        set_gradients((mine, theirs), step)
        one.step()
        plain.step()
    other = second(mine)
    other.load_state_dict(one.state_dict())
    set_gradients((mine, theirs), 4)
    other.step()
    plain.step()
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_other_options_are_those_of_torch():
    mine, theirs = parameters(), parameters()
    ours, plain = Adam(mine, weight_decay=0.1, amsgrad=True), torch.optim.Adam(theirs, weight_decay=0.1, amsgrad=True)
    for step in range(1, 4):
        set_gradients((mine, theirs), step)
        ours.step()
        plain.step()
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_clipping_and_closure():
    mine, theirs = parameters(), parameters()
    set_gradients((mine, theirs), 1)
    for them in (mine, theirs):
        nn.utils.clip_grad_norm_(them, 0.5)
    assert Adam(mine).step(lambda: torch.tensor(3.0)) == 3
    torch.optim.Adam(theirs).step()
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_number_of_threads_changes_nothing():
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            mine = parameters()
            set_gradients((mine,), 1)
            Adam(mine).step()
            results.append(mine)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
