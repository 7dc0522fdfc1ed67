"""Forward and backward steps of one layer and direction over some reviews, for CPUs, compiled by Numba.

The n rows of the arrays are tokens in the order of ``nn.utils.rnn.PackedSequence``: all first steps, longest review
first, then all second steps, … The ``sizes[t]`` reviews that have a step t go on from the first rows of the step before,
at the first step from the states ``h_0`` and ``c_0`` (at least as many rows). Arrays are contiguous and of one type,
float32 or float64; results are written into the arguments. H hidden units; U and b are those of ``torch.nn``.
"""

import math
import os
from pathlib import Path

import numba
import numpy as np
import scipy.linalg  # noqa: F401 - its BLAS is what np.dot calls in compiled code
from numba import njit, types
from numba.extending import overload

from lab import files

if not numba.config.CACHE_DIR and not os.access(Path(__file__).parent, os.W_OK):
    # A read-only installation: compiled code lies where everything is written, else the user's folder may be tried.
    numba.config.CACHE_DIR = str(files.home() / "data" / "cache" / "numba")

# nogil: threads run side by side. contract: a product and a sum may become one instruction.
OPTIONS = dict(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})

# tanh x is nearly x p(x^2) / q(x^2), highest power first: Eigen's approximation in single precision, off by less than 4e-7.
# The C library's own tanh is nearly exact and twenty times as slow, since it takes numbers one by one.
P = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
Q = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
LIMIT = 7.90531110763549805  # beyond it tanh is as good as 1


def tanh(x):
    """tanh x of a float32 or float64, for compiled code."""
    return math.tanh(x)


@overload(tanh, jit_options=dict(fastmath=OPTIONS["fastmath"]))
def _tanh(x):
    if x != types.float32:
        return lambda x: math.tanh(x)
    p6, p5, p4, p3, p2, p1, p0 = map(np.float32, P)
    q3, q2, q1, q0 = map(np.float32, Q)
    low, high = np.float32(-LIMIT), np.float32(LIMIT)

    def rational(x):
        u = low if x < low else high if x > high else x  # written so that NaN propagates
        s = u * u
        p = (((((p6 * s + p5) * s + p4) * s + p3) * s + p2) * s + p1) * s + p0
        return u * p / (((q3 * s + q2) * s + q1) * s + q0)

    return rational


@njit(**OPTIONS)
def lstm_forward(z, U, b, sizes, h_0, c_0, h, c):
    """z (n, 4H): W x, becomes the gates i, f, g, o. U (H, 4H), transposed. h, c (n, H): become the states."""
    H = len(U)
    # An activation for all gates: the logistic function is 1/2 + 1/2 tanh(u/2).
    scale, shift = np.full(4 * H, z.dtype.type(0.5)), np.full(4 * H, z.dtype.type(0.5))
    scale[2 * H : 3 * H], shift[2 * H : 3 * H] = 1, 0
    s = np.empty((sizes[0], 4 * H), z.dtype)
    start, before = 0, 0  # rows of this step and of the one before
    for t in range(len(sizes)):
        h_then, c_then = (h, c) if t else (h_0, c_0)
        np.dot(h_then[before : before + sizes[t]], U, s[: sizes[t]])
        for k in range(sizes[t]):
            r, q = start + k, before + k
            # Short loops over few arrays: those the compiler turns into vector instructions.
            for j in range(4 * H):
                z[r, j] = shift[j] + scale[j] * tanh(scale[j] * (z[r, j] + s[k, j] + b[j]))
            for j in range(H):
                c[r, j] = z[r, H + j] * c_then[q, j] + z[r, j] * z[r, 2 * H + j]
            for j in range(H):
                h[r, j] = z[r, 3 * H + j] * tanh(c[r, j])
        start, before = start + sizes[t], start


@njit(**OPTIONS)
def lstm_backward(x, U, sizes, h_0, c_0, h, c, z, dy, dh, dc, dz, v):
    """z (n, 4H): the gates. U (4H, H). h, c (n, H): the states. dy (n, H): the gradient of the outputs, None for zeros.

    dh, dc (at least as many rows as h_0): the gradients of the last states become those of h_0 and c_0. dz (n, 4H):
    becomes the gradient of W x. v (n, E + H or more): becomes x (n, E) and the states that the rows go on from.
    """
    E, H = x.shape[1], U.shape[1]
    one = z.dtype.type(1)
    start = len(z)
    for t in range(len(sizes) - 1, -1, -1):
        start -= sizes[t]
        before = start - sizes[t - 1] if t else 0
        h_before, c_before = (h, c) if t else (h_0, c_0)
        for k in range(sizes[t]):
            r, q = start + k, before + k
            if dy is not None:
                for j in range(H):
                    dh[k, j] += dy[r, j]
            for j in range(H):
                o, tanh_c = z[r, 3 * H + j], tanh(c[r, j])
                dz[r, 3 * H + j] = dh[k, j] * tanh_c * o * (one - o)
                dc[k, j] += dh[k, j] * o * (one - tanh_c * tanh_c)
            for j in range(H):
                i = z[r, j]
                dz[r, j] = dc[k, j] * z[r, 2 * H + j] * i * (one - i)
            for j in range(H):
                g = z[r, 2 * H + j]
                dz[r, 2 * H + j] = dc[k, j] * z[r, j] * (one - g * g)
            for j in range(H):
                f = z[r, H + j]
                dz[r, H + j] = dc[k, j] * c_before[q, j] * f * (one - f)
                dc[k, j] *= f
            for j in range(E):
                v[r, j] = x[r, j]
            for j in range(H):
                v[r, E + j] = h_before[q, j]
        np.dot(dz[start : start + sizes[t]], U, dh[: sizes[t]])


@njit(**OPTIONS)
def rnn_forward(h, U, b, sizes, h_0, relu):
    """h (n, H): W x, becomes the states. U (H, H), transposed. f is max(0, .) where ``relu``, else tanh."""
    H = len(U)
    zero = h.dtype.type(0)
    s = np.empty((sizes[0], H), h.dtype)
    start, before = 0, 0
    for t in range(len(sizes)):
        h_then = h if t else h_0
        np.dot(h_then[before : before + sizes[t]], U, s[: sizes[t]])
        for k in range(sizes[t]):
            r = start + k
            if relu:
                for j in range(H):
                    u = h[r, j] + s[k, j] + b[j]
                    h[r, j] = zero if u < zero else u  # NaN propagates
            else:
                for j in range(H):
                    h[r, j] = tanh(h[r, j] + s[k, j] + b[j])
        start, before = start + sizes[t], start


@njit(**OPTIONS)
def rnn_backward(x, U, sizes, h_0, h, relu, dy, dh, dz, v):
    """The same for Elman's RNN: dz (n, H), U (H, H)."""
    E, H = x.shape[1], len(U)
    zero, one = h.dtype.type(0), h.dtype.type(1)
    start = len(h)
    for t in range(len(sizes) - 1, -1, -1):
        start -= sizes[t]
        before = start - sizes[t - 1] if t else 0
        h_before = h if t else h_0
        for k in range(sizes[t]):
            r, q = start + k, before + k
            if dy is not None:
                for j in range(H):
                    dh[k, j] += dy[r, j]
            if relu:
                for j in range(H):
                    dz[r, j] = dh[k, j] if h[r, j] > zero else zero
            else:
                for j in range(H):
                    dz[r, j] = dh[k, j] * (one - h[r, j] * h[r, j])
            for j in range(E):
                v[r, j] = x[r, j]
            for j in range(H):
                v[r, E + j] = h_before[q, j]
        np.dot(dz[start : start + sizes[t]], U, dh[: sizes[t]])
