"""Reports: the results for a run or a sweep on one self-contained HTML page."""
