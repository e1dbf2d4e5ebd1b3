"""The tables: what is measured, a module each, with a command line of its own; the suite runs all of them."""
