"""All that touches Redis or files. The records are the truth; a Celery message is only a hint of work."""
