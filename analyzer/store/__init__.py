"""Files of the store format, read into plain records and arrays."""
