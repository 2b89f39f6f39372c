"""From an image's bytes to its features: decoded, through the frozen backbone, kept on disk."""
