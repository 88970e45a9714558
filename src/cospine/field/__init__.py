"""B0: the field from reversed phase encoding or phase differences, and the displacement that follows from it."""
