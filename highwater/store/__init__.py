"""The warehouse: connections, ledger, publishing, checkpoints, rollback, holds, circuit breakers."""
