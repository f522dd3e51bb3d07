"""What computes prepared rows: one module for each engine, with the functions of `Engine`."""
