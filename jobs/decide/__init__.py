"""From results to the next step: adopt, next, more, prune."""
