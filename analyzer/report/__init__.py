"""A report: what the analyzer finds in a run or a sweep, on one HTML page that needs nothing but itself."""
