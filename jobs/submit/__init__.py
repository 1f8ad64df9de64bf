"""Commands that change what runs: submit, rerun, cancel, and waiting for it."""
