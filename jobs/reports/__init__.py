"""Commands that read results: report, compare, export, import, archive."""
