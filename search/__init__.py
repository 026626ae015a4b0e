"""Architecture and hyper-parameter search for tiny MNIST networks under a hard parameter budget."""
