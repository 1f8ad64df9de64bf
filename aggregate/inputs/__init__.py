"""From the metric shards of many runs to one table per run; questions of a plan."""
