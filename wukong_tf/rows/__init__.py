"""Rows of a log as the model reads them, each column validated."""

import numpy as np

# Column name to rows: ids int32 [B], bags int32 [B, max_ids] padded with 0 and
# their weights float32 [B, max_ids], numbers float32 [B], vectors float32
# [B, size], labels float32 [B] (NaN if a row has none) and weights float32
# [B], groups int64 [B].
Batch = dict[str, np.ndarray]
