"""Workers whose trainers can be held at a gate: a job stays in its middle for as long as a test needs, at no cost."""
