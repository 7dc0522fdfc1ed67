"""Training classifiers: the loop, runs, the grid, the linear model."""
