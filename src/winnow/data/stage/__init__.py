"""The way of raw rows to a table that a study can read: their schema, and what violates it."""
