"""What everyone may know: the words that cross a wire. Pydantic only; imports nothing else of ours."""
