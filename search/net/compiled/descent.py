"""Kernels for weights: AdamW's step, and the running average."""

import numpy as np

from .jit import kernel


@kernel
def descend(weights, gradients, first, second, rate, beta_1, beta_2, epsilon, decay, step):  # type: ignore[no-untyped-def]
    """A step of AdamW (Loshchilov and Hutter, 2019), as PyTorch has it; first and second are the moments."""
    shrink = np.float32(1 - rate * decay)
    move = np.float32(rate / (1 - beta_1**step))
    correction = np.float32(np.sqrt(1 - beta_2**step))
    keep_1, keep_2 = np.float32(beta_1), np.float32(beta_2)
    take_1, take_2 = np.float32(1 - beta_1), np.float32(1 - beta_2)
    least = np.float32(epsilon)
    for index in range(len(weights)):
        gradient = gradients[index]
        first[index] = keep_1 * first[index] + take_1 * gradient
        second[index] = keep_2 * second[index] + take_2 * gradient * gradient
        weights[index] = weights[index] * shrink - move * first[index] / (np.sqrt(second[index]) / correction + least)


@kernel
def average_weights(averaged, current, share):  # type: ignore[no-untyped-def]
    """Moves the average by a share of the way; a share of one copies."""
    near, far = np.float32(share), np.float32(1 - share)
    for index in range(len(averaged)):
        way = current[index] - averaged[index]
        averaged[index] = averaged[index] + near * way if share < 0.5 else current[index] - far * way
