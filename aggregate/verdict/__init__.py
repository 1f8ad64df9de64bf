"""The summary of a sweep in words: best configuration, answers, caveats, seeds needed."""
