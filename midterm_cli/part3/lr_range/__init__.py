"""Smith's learning rate range test, over seeds."""
