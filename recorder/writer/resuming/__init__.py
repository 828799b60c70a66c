"""A run goes on: where, and what is cut from the store and set aside."""
