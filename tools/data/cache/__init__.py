"""Prepared cases: back ends, choice of one, and the data set that reads them."""
