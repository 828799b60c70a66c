"""Answers as rows and columns: for csv, json, parquet and tables of the shell, and for pandas."""
