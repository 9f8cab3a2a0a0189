"""Where rows come from: one reader a format, one FeatureSpec for all."""
