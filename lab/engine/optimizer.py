"""Adam whose step reads and writes the memory of large parameters once.

The embedding holds nearly all parameters of the classifier, and plain Adam goes over all of them seven times.
"""

from __future__ import annotations

import math

import torch

BLOCK = 2**15  # numbers of each of the four arrays that a thread works on at a time: they stay in its cache


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
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(group, parameter)
        return loss

    def _update(self, group: dict, parameter: torch.Tensor) -> None:
        """The step of one parameter, in the order of operations of ``torch.optim.Adam``."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        step, (beta1, beta2) = state["step"].item(), group["betas"]
        rate, correction = group["lr"] / (1 - beta1**step), math.sqrt(1 - beta2**step)
        # MKL's root takes eight times as long at 0, where words not yet met have theirs (its branch for special
        # values, as in pytorch/pytorch#48388). The smallest normal number instead is lost in eps.
        tiny = torch.finfo(parameter.dtype).tiny
        block = BLOCK * torch.get_num_threads()  # torch gives each thread a part of every operation
        room = torch.empty(block, dtype=parameter.dtype)
        tensors = (parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"])
        for p, g, m, v in zip(*(t.view(-1).split(block) for t in tensors), strict=True):
            m.lerp_(g, 1 - beta1)
            v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            spread = torch.add(v, tiny, out=room[: len(v)]).sqrt_().div_(correction).add_(group["eps"])
            p.addcdiv_(m, spread, value=-rate)


def _is_plain(group: dict) -> bool:
    """Whether these are the options and tensors that ``_update`` knows."""
    options = ("weight_decay", "amsgrad", "maximize", "foreach", "capturable", "differentiable", "fused")
    tensors = [t for p in group["params"] for t in (p, p.grad) if t is not None]
    return not any(group.get(option) for option in options) and all(
        t.device.type == "cpu" and t.layout is torch.strided and t.is_contiguous() and t.is_floating_point()
        for t in tensors
    )
