"""From the metric shards of many runs to one table a run."""
