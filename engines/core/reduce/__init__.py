"""From features to few numbers: exact moments, standardization, PCA. A contract, not a choice."""
