"""Questions with their videos in, pieces of answers out: one model, whose steps all running answers share."""
