"""What becomes of served models: their predictions, and what turns out to be true of them."""
