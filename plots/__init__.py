"""Judgement to pictures: house style, curves, and the report as one offline file."""
