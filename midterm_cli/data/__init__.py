"""The images that the parts learn from and look at: found, fetched, checked, read."""
