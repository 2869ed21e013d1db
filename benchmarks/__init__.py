"""One file per claim of speed, memory or quality: our row and the peer's row from the same run, and their ratio."""
