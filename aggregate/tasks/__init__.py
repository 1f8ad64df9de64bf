"""Analysis across tasks: normalised scores of algorithms on several tasks, their aggregates and comparisons."""
