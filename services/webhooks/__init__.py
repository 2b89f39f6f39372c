"""Webhooks as they are sent: signed messages to addresses that users name."""
