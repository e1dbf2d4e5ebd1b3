"""What runs inside a worker: pure functions of numpy, Pillow, LiteRT and pyarrow, and the storage they read and write.

Nothing here imports Prefect, Dask or Spark. The arithmetic of every stage is in this package, once.
"""
