"""The tests of a GAN: both rates over a grid, one ramp of both, and what they say."""
