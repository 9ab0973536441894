-- Datasets of an older warehouse get their policy: the trigger on control.datasets inserts it.
UPDATE control.datasets SET dataset = dataset
WHERE dataset NOT IN (SELECT p.dataset FROM control.catchup_policies AS p);
