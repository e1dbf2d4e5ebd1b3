"""Whether two outputs hold the same: as a whole, row by row, and their PCAs."""
