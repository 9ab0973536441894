-- Store what the run that landed a set did and what it has cost. Run as loader, while its attempt is under way.
SELECT
    ops.summarise_increment(
        %(dataset)s, %(staged_as)s, %(hour)s, %(mode)s, %(reason)s, %(inserted)s, %(updated)s, %(deleted)s,
        %(by_hour)s::jsonb
    );
