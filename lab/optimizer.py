"""Adam whose step reads and writes the memory of large parameters once.

The embedding holds nearly all parameters of the classifier, and plain Adam goes over all of them seven times.
"""

from __future__ import annotations

import math

import torch

from lab import recurrent

BLOCK = 2**15  # numbers of each of the four arrays that are worked on at a time: they stay in the cache
SHARE = 2**5  # blocks that a thread takes at a time


class Adam(torch.optim.Adam):
    """``torch.optim.Adam`` with the same state and, to the last bit, the same results, block after block on a CPU.

    Where an option other than ``lr``, ``betas`` and ``eps`` is used, or a parameter is elsewhere than on a CPU,
    it is ``torch.optim.Adam`` itself.
    """

    @torch.no_grad()
    def step(self, closure=None):
        """One step (Kingma & Ba 2015, algorithm 1); returns the closure's loss, if there is one."""
        if not all(_is_plain(group) for group in self.param_groups):
            return super().step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        shares = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shares += self._shares(group, parameter)
        recurrent.spread(_update, shares)
        return loss

    def _shares(self, group: dict, parameter: torch.Tensor) -> list[tuple]:
        """Count the step and split its work: arguments of ``_update``."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        step, (beta1, beta2) = state["step"].item(), group["betas"]
        scalars = (beta1, beta2, group["eps"], group["lr"] / (1 - beta1**step), math.sqrt(1 - beta2**step))
        tensors = (parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"])
        return [(*parts, *scalars) for parts in zip(*(t.view(-1).split(BLOCK * SHARE) for t in tensors), strict=True)]


def _is_plain(group: dict) -> bool:
    """Whether these are the options and tensors that ``_update`` knows."""
    options = ("weight_decay", "amsgrad", "maximize", "foreach", "capturable", "differentiable", "fused")
    tensors = [t for p in group["params"] for t in (p, p.grad) if t is not None]
    return not any(group.get(option) for option in options) and all(
        t.device.type == "cpu" and t.layout is torch.strided and t.is_contiguous() and t.is_floating_point()
        for t in tensors
    )


def _update(parameter, gradient, mean, square, beta1, beta2, eps, rate, correction):
    """The step of a stretch of numbers, in the order of operations of ``torch.optim.Adam``."""
    room = torch.empty(BLOCK, dtype=parameter.dtype)
    for p, g, m, v in zip(*(t.split(BLOCK) for t in (parameter, gradient, mean, square)), strict=True):
        m.lerp_(g, 1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        spread = torch.sqrt(v, out=room[: len(v)]).div_(correction).add_(eps)
        p.addcdiv_(m, spread, value=-rate)
