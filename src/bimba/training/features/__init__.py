"""Features of a frozen vision tower on disk: clips in, what the tower sees of them out, computed once."""
