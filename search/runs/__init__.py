"""Where a trial meets a network: the search, re-ranking, proof, ablation and reproduction."""
