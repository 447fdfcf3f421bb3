"""What a request calls a video (an uploaded file, a data URL, a path, an address) in, a file that may be read out."""
