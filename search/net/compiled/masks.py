"""Kernels for dropout: masks from the numbers that PyTorch's generator would draw.

That is the Mersenne Twister (Matsumoto and Nishimura, 1998), of which PyTorch takes 24 bits for a number in fp32.
"""

import numpy as np

from .jit import helper, kernel

_WORDS = 624
_AHEAD = 397
_UPPER, _LOWER, _MATRIX = 0x80000000, 0x7FFFFFFF, 0x9908B0DF
STATE = _WORDS + 1  # numbers of a generator's state: its words, and how many of them are used up


@kernel
def seed_masks(state, seed):  # type: ignore[no-untyped-def]
    """Begins anew, as `torch.manual_seed` does."""
    state[0] = seed & 0xFFFFFFFF
    for index in range(1, _WORDS):
        before = np.uint64(state[index - 1])
        state[index] = (np.uint64(1812433253) * (before ^ (before >> np.uint64(30))) + np.uint64(index)) & 0xFFFFFFFF
    state[_WORDS] = _WORDS


@helper
def _mix(state, index, following, ahead):  # type: ignore[no-untyped-def]
    joined = (state[index] & _UPPER) | (state[following] & _LOWER)
    state[index] = state[ahead] ^ (joined >> 1) ^ (_MATRIX if joined & 1 else 0)


@helper
def _twist(state):  # type: ignore[no-untyped-def]
    for index in range(_WORDS - _AHEAD):
        _mix(state, index, index + 1, index + _AHEAD)
    for index in range(_WORDS - _AHEAD, _WORDS - 1):
        _mix(state, index, index + 1, index + _AHEAD - _WORDS)
    _mix(state, _WORDS - 1, 0, _AHEAD - 1)


@kernel
def draw_mask(state, rate, kept, mask):  # type: ignore[no-untyped-def]
    """Zero where a number is below the rate, else what is kept is multiplied with."""
    done = 0
    used = np.int64(state[_WORDS])
    while done < mask.size:
        if used == _WORDS:
            _twist(state)
            used = np.int64(0)
        count = min(mask.size - done, _WORDS - used)
        for index in range(count):
            word = state[used + index]
            word ^= word >> 11
            word ^= (word << 7) & 0x9D2C5680
            word ^= (word << 15) & 0xEFC60000
            word ^= word >> 18
            number = np.float32(word & 0xFFFFFF) * np.float32(2**-24)
            mask[done + index] = kept if number >= rate else np.float32(0)
        used += count
        done += count
    state[_WORDS] = used
