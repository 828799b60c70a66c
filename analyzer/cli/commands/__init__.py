"""The commands: each module is one, and has its options and what it does with an answer."""
