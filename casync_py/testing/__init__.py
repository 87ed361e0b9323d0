"""For tests, this project's and those of outside plugins: contract suites, strategies, recording stores."""
