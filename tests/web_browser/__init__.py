"""A package, which most directories of tests are not, as its browser ends with it."""
