"""Speed of the parts and of the whole: ``python -m benchmarks`` prints the table of README.md."""
