"""What a run under Prefect needs: tasks, cancellation, hooks, logs, blocks."""
