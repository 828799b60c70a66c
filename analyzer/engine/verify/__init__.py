"""A store held against its own checksums: chunks, attempts that a resumption set aside, kept sums."""
