"""Networks: what they are, how they are built and converted once, and how workers run them on pixels."""
