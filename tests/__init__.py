"""Tests of the whole repository. A package, so that no installed package of this name is found before it."""
