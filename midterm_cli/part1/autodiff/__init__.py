"""The derivative of a function of one variable, by methods that check each other."""
