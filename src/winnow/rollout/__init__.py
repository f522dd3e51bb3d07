"""Which revision gets which traffic, when, and the verdicts that decide it. Pure: platforms are elsewhere."""
