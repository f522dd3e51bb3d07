"""Sequential tests that hold at every look, each with its formula and its source."""
