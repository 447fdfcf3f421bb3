"""A run that is done in, the folder that `bimba.load` opens out."""
