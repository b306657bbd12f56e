"""Is it correct? Cases as data, an oracle that reads raw manifests, comparison by placement."""
