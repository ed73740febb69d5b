-- Nothing read the clusters from here: the report of a cycle has them.
DROP TABLE clusters;
