"""The functions that engines run on their workers, one file per stage: `function(item, broadcast value)`.

Each is deterministic and may run twice or on two workers at once: it writes the same bytes to the same place.
"""
