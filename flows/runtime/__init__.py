"""What a run under Prefect needs: the server, tasks, cancellation, hooks, blocks.

`server` says whether one is configured, and imports no Prefect for that; all else here does.
"""
