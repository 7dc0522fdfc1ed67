"""From result files to numbers, tables and pictures; needs neither torch nor the data."""
