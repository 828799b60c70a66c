"""Callbacks for trainers of other libraries. Each module loads its library, so import the one that you use."""
