"""Several runs side by side, on the rows that they held out."""
