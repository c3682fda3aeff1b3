"""Cache of preprocessed cases: back ends, automatic selection, and the data set."""
