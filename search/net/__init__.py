"""Tensors and networks: digits, augmentation, the network, its training. Knows no Optuna."""
