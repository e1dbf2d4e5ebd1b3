"""Every parameter of a command or flow, once; `flows.signatures` makes Prefect's form and the terminal's options."""
