"""The warehouse: connections, the ledger, publishing, checkpoints, what holds a window back."""
