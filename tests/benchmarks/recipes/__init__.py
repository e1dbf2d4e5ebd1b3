"""What the chain is measured against: each a program of its own, in the best form a careful user would write."""
