"""What results are written as, a file a format: an HTML report, a score matrix, a table of the best images."""
