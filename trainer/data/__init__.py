"""Sources of rows: one reader per format, all for the same FeatureSpec."""
