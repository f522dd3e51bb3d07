"""What computes prepared rows: one module for each engine, with the functions of `Engine`.

DuckDB's works in the connection that has the table `raw`; the others read its rows from files and write files.
"""
