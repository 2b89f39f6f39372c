"""The trainer is a filter: a spec on stdin, JSON lines on stdout, files in a folder. It knows no Redis, no Celery."""
