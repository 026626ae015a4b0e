"""The network on a CPU in fp32: what PyTorch would compute, several times as fast, and the same bits on every CPU.

Images lie side by side in the lanes of a vector, eight at a time: every loop is over channels and pixels alone, nothing
is summed across lanes until the very end, and small layers waste nothing. (Libraries put channels or pixels there,
which suits networks a hundred times as wide: at our widths they reach a tenth to a fifth of what these loops do.)

`training` and `evaluation` are what others use, with `images` and `weights`. A program says where a network lies in
memory (`layout`, `programs`); numba compiles the loops: a kernel is called from Python, a helper is a part of kernels.
"""
