"""The Prefect flow over the engine interface, and the command line `fruits`."""
