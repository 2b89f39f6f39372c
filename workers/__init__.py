"""The workers: a Celery app, a supervisor for each attempt, and the trainer's process."""
