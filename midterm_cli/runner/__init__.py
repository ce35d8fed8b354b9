"""One run: its name, its folder, how it is resumed, where its numbers come from."""
