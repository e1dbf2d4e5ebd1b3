"""What the nearest rows say of published results: of photos, of their labels, and of how well the numbers tell classes.

`rows` are the published photos, `plan` cuts the distance matrix into items for workers. From the neighbours that these
find come `votes` (accuracy, confusion, labels in doubt), `distances` (outliers, near duplicates), `duplicates` (equal
files), `imbalance` and `splits` (leakage, drift). `probe` and `layout` are scikit-learn's part. `assess` puts all of it
together.
"""
