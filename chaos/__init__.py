"""Random faults on a whole platform, and what must hold all the same: ``scripts/chaos``, docs/explanation/chaos.md."""
