"""Generated queries: what is done with them before they augment passages."""
