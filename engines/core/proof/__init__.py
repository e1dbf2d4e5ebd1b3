"""Files that prove themselves: what a run writes carries a seal, and what is read is held to it.

`seal` is the mark in a file, `reading` the one way in which files of an output are read.
"""
