"""What a viewer shows of a picture, and how large a one is read at all. Pillow and numpy; no torch."""
