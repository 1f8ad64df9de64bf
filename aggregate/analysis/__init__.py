"""From runs to scores, contrasts, factor effects and the summary of a sweep."""
