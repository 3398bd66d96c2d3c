"""The parts of the benchmark: each measures, and renders its section of the report."""
