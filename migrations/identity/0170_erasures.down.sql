DROP TABLE erasure_receipts;
DROP TABLE erasures;
