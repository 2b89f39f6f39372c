"""Images to labels, for every model at once: each is a head on one backbone, so one pass serves them all."""
