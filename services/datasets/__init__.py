"""What a tree of files means: archives of labelled images, listed and indexed. Pure: no Redis, no torch."""
