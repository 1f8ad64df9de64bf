"""Figures of the summary: style, curves, the report as one offline file, single figures for a paper."""
