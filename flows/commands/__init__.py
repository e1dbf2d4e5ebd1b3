"""One module per command of `fruits`. What is heavy is imported by the command that needs it."""
