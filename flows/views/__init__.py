"""What a person sees of a run: the terminal, Prefect's page, the report."""
