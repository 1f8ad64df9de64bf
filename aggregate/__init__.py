"""Shards to judgement: load -> grid -> stats, flags -> summary -> verdict. Never imports torch."""
