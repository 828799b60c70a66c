"""Sums that are kept between questions: their files, the folders that these lie in, and of which frames they are."""
