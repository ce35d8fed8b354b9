"""Part 1: the derivative of a function of one variable, by methods that check each other."""
