-- Numbers for the names of partitions.
CREATE SEQUENCE ops.partition_numbers;
