"""The HTTP API: OpenAI's fine-tuning routes for image classifiers, and what Headway adds."""
