-- For those of an older warehouse.
UPDATE control.datasets SET dataset = dataset
WHERE dataset NOT IN (SELECT p.dataset FROM control.catchup_policies AS p);
