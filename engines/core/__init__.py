"""What runs inside a worker, and what describes an output. Nothing here imports Prefect, Dask or Spark.

`sources` list and read photos, `index` cuts them into shards, `networks` turn pixels into features, `reduce` turns
features into few numbers, and `stages` are the functions that workers run over them. `output` says where everything
lies, `storage` reads and writes it, `tables` are its schemas, and `compare` holds two outputs against each other.
`neighbours` finds the nearest rows of a table. `contracts` are the promises each run checks; `errors` and `rejects` say
what went wrong with a run, and with a photo.
"""
